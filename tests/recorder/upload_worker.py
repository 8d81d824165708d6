"""A process that records and uploads until it is killed: `python -m recorder.upload_worker DIR SETTINGS FIRST`.

SETTINGS is JSON, of RecorderSettings; the frames have the numbers from FIRST on.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

from recorder.conftest import Impatient, Rig


def main() -> None:
    rig = Rig(Path(sys.argv[1]), Impatient())
    rig.start(**json.loads(sys.argv[2]))
    for number in itertools.count(int(sys.argv[3])):
        rig.give(number)
        time.sleep(0.002)


if __name__ == "__main__":
    main()
