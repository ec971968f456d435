"""Pipeline step `fetch_data`: an image folder out of a git repository, by DVC where DVC tracks it."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def fetch_data(
    repository: str,
    commit: str,
    path: str,
    hash: str,
    data: dsl.Output[dsl.Dataset],
) -> None:
    """Fetches an image folder. Credentials of git and of DVC's remote come from the environment.

    Args:
        repository: URL or folder of a git repository.
        commit: which one; "": a folder's working tree.
        path: of the image folder in the repository.
        hash: what step `data_version` says of it.
        data: the folder; metadata: repository, revision, path, hash.
    """
    from pathlib import Path

    from dvc.api import DVCFileSystem

    from siamese.errors import as_input_error, exit_in_one_line
    from siamese.tracking.client import without_credentials

    exit_in_one_line()
    with as_input_error(f"{repository}: {path} can't be fetched: see that `dvc push` was run, and to the credentials"):
        files = DVCFileSystem(repository, rev=commit or None)
        Path(data.path).parent.mkdir(parents=True, exist_ok=True)
        files.get(path, data.path, recursive=True)
    data.metadata.update(repository=without_credentials(repository), revision=commit, path=path, hash=hash)
