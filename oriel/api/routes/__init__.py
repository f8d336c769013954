"""The doors, one module per noun. Each ends in `DOORS`: what `app` opens.

A handler reads the call, calls one verb, and represents what it gives. It decides nothing.
"""
