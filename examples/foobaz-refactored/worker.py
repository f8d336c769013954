"""FooBaz: the worker process of the story's app."""

import os
import time

from lib.utils import now_stamped


def work():
    print(f"{os.environ['DYNO']} worked off the queue at {now_stamped()}", flush=True)


if __name__ == "__main__":
    print("Waiting for jobs", flush=True)
    while True:
        work()
        time.sleep(30)
