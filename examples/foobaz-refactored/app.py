"""FooBaz: the web process of the story's app."""

import os

from flask import Flask

from lib.utils import now_stamped

app = Flask(__name__)


@app.get("/")
def index():
    return f"FooBaz at your service. {os.environ['DYNO']} says it is {now_stamped()} UTC.\n"
