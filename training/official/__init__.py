"""Import of checkpoints that the published HyperSeg code wrote: read, recognise, check, rename, load.

The published code is not needed, and nothing in the file is run. Tensors decide what the network is; the constructor
call that the file carries is read as text and compared with them.
"""

from training.official.importer import Imported, import_official

__all__ = ["Imported", "import_official"]
