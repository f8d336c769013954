"""What the processes of FooBaz share."""

import datetime


def now_stamped():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%H:%M:%S")
