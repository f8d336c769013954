"""FooBaz: the web process of the story's app."""

import datetime
import os

from flask import Flask

app = Flask(__name__)


def stamp(moment):
    return moment.strftime("%H:%M:%S")


@app.get("/")
def index():
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"FooBaz at your service. {os.environ['DYNO']} says it is {stamp(now)} UTC.\n"
