"""FooBaz: the worker process of the story's app."""

import datetime
import os
import time


def stamp(moment):
    return moment.strftime("%H:%M:%S")


def work():
    now = datetime.datetime.now(datetime.timezone.utc)
    print(f"{os.environ['DYNO']} worked off the queue at {stamp(now)}", flush=True)


if __name__ == "__main__":
    print("Waiting for jobs", flush=True)
    while True:
        work()
        time.sleep(30)
