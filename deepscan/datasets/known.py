"""The published data sets whose arrangement is known: ``deepscan import`` lists and reads them.

A further one is a ``Layout`` more in ``known_faces`` or ``known_voices``, or registered by a plugin.
"""

from deepscan.datasets.importing import Layout
from deepscan.datasets.known_faces import FACES
from deepscan.datasets.known_voices import VOICES
from deepscan.registry import Registry

LAYOUTS: Registry[Layout] = Registry("data set layout")

for _layout in (*FACES, *VOICES):
    LAYOUTS.register(_layout.name, _layout)
