"""Pipeline step `data_version`: which data a revision of a repository means, so that the same data is fetched once."""

from typing import NamedTuple

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def data_version(
    repository: str,
    revision: str,
    path: str,
) -> NamedTuple("Outputs", [("hash", str), ("commit", str)]):
    """Looks up, without fetching it, which data a revision means.

    Later commits that leave the data alone mean the same: the steps behind are then found in the cache.

    Args:
        repository: URL or folder of a git repository; what DVC tracks in it is found by its remotes.
        revision: commit, branch or tag; "": a folder's working tree.
        path: of the image folder in the repository.

    Returns:
        hash: DVC's of the folder, or a digest of its files where DVC doesn't track it; commit: the last one that
        changed it ("" for a working tree).
    """
    from hashlib import sha256
    from stat import S_ISLNK

    from dulwich.repo import Repo
    from dvc.api import DVCFileSystem

    from siamese.errors import InputError, as_input_error, exit_in_one_line

    exit_in_one_line()
    with as_input_error(f"{repository} at {revision or 'its working tree'}: no data at {path}"):
        files = DVCFileSystem(repository, rev=revision or None)
        if not files.isdir(path):
            raise InputError(f"{repository} at {revision or 'its working tree'}: {path} is no folder there")
        found = files.info(path).get("md5", "")
        changed_with = [path]
        # What `dvc add` put into a revision contains no link. git stores each link as a small file, and in a working
        # tree DVC follows no link to a folder.
        listed = {} if found and revision else files.find(path, detail=True)
        links = [
            name
            for name, entry in sorted(listed.items())
            if (S_ISLNK(entry["fs_info"]["mode"]) if revision else entry["type"] != "file" and files.isdir(name))
        ]
        if links:
            raise InputError(
                f"{repository} at {revision or 'its working tree'}: {links[0]}"
                f"{f' (and {len(links) - 1} more)' if links[1:] else ''} is a link, which can't be fetched: "
                "put the file or folder itself there"
            )
        if found:
            stage = files.repo.find_outs_by_path(path)[0].stage
            changed_with = [stage.path_in_repo.replace("dvc.yaml", "dvc.lock")]
        else:
            total = sha256()
            for name in sorted(listed):
                total.update(f"{name}\0".encode() + sha256(files.cat_file(name)).digest())
            found = total.hexdigest()[:32]
        commit = ""
        if revision:
            history = Repo(files.repo.scm.root_dir).get_walker(
                include=[files.repo.get_rev().encode()], paths=[one.encode() for one in changed_with], max_entries=1
            )
            commit = next((entry.commit.id.decode() for entry in history), files.repo.get_rev())
    print(f"{path} at {revision or 'the working tree'}: {found}, since {commit or 'now'}")
    return (found, commit)
