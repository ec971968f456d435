"""Artifacts in an object store that only the server reaches: `s3-inside://BUCKET/PATH`.

Given `s3://`, MLflow's server sends its clients addresses in the store, where they fetch and send files by themselves.
Behind this scheme it offers no such addresses, so that every byte goes through the server, and its login.
"""

from __future__ import annotations

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

SCHEME = "s3-inside:"


class InsideS3(ArtifactRepository):
    """MLflow's own S3 repository, without what it can do for clients that reach the store."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._store = S3ArtifactRepository(f"s3:{artifact_uri.removeprefix(SCHEME)}")

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        self._store.log_artifact(local_file, artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        self._store.log_artifacts(local_dir, artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        return self._store.list_artifacts(path)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        self._store._download_file(remote_file_path, local_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        self._store.delete_artifacts(artifact_path)
