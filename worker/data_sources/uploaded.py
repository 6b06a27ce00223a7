"""Files that were uploaded: found by the id of their data set, read as the user's own files are."""

from specs.data_sources import UploadedSpec
from specs.uploads import FORMATS
from worker.data_sources.file import table_of
from worker.data_sources.source import DataFinding, DataSource, Folders, Table


class Uploaded(DataSource):
    """One file of the folder of uploads."""

    def __init__(self, spec: UploadedSpec) -> None:
        self.spec = spec

    def load(self, folders: Folders) -> Table:
        assert folders.uploads is not None
        for path in (folders.uploads / f"{self.spec.id}.{kind}" for kind in FORMATS):
            if path.is_file() and not path.is_symlink():
                return table_of(path, target=self.spec.target, task=self.spec.task)
        raise DataFinding("data_not_found", f"the upload {self.spec.id} is not in this worker's state folder")
