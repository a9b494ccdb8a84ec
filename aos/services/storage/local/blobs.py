"""Large values as files: ``<container>/<owner>/<sha256>``, whole or not there at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aos.kernel.errors import Integrity, NotFound, Unavailable
from aos.services.storage.limits import check_blob, check_blob_size
from aos.services.storage.ports import Ref

THREADS = 2
RACES = 100  # more often than that, a folder does not come and go by chance


class LocalBlobs:
    """The port ``Blobs`` on a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, "storage-blob")

    async def put(self, container: str, owner: str, data: bytes) -> Ref:
        """Keep ``data`` for ``owner``."""
        check_blob(container, owner)
        check_blob_size(len(data))
        return await self._run(self._put, self._folder / container / owner, data)

    async def get(self, container: str, owner: str, ref: Ref) -> bytes:
        """Return the value."""
        check_blob(container, owner, ref)
        return await self._run(self._get, self._folder / container / owner / ref.sha256, ref)

    async def delete(self, container: str, owner: str, ref: Ref) -> None:
        """Remove one value; missing is fine."""
        check_blob(container, owner, ref)
        await self._run(self._delete, self._folder / container / owner / ref.sha256)

    async def delete_owner(self, container: str, owner: str) -> None:
        """Remove all values of an owner."""
        check_blob(container, owner)
        await self._run(self._delete_folder, self._folder / container / owner)

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _run[**P, T](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._explained():
            try:
                future = self._threads.submit(work, *args, **kwargs)
            except RuntimeError as error:
                raise Unavailable(f"the storage in {self._folder.parent} is closed") from error
            return await asyncio.wrap_future(future)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = str(self._folder.parent)
            raise Unavailable(
                f"the storage in {folder} cannot be used now: {error}", folder=folder
            ) from error

    def _put(self, owner: Path, data: bytes) -> Ref:
        ref = Ref(hashlib.sha256(data).hexdigest(), len(data))
        for _ in range(RACES):
            self._make_owner(owner)
            with contextlib.suppress(FileNotFoundError):  # the owner was deleted meanwhile: once more
                _write_whole(owner / ref.sha256, data)
                return ref
        raise Unavailable(f"{owner} is being deleted again and again")

    def _make_owner(self, owner: Path) -> None:
        missing = [folder for folder in (owner.parent, owner) if not folder.exists()]
        if missing:
            owner.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                _sync_folder(folder.parent)

    def _get(self, file: Path, ref: Ref) -> bytes:
        try:
            data = file.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"no stored value {ref.sha256}", owner=file.parent.name, sha256=ref.sha256
            ) from error
        if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise Integrity(f"the stored value {file} is not what its name says", sha256=ref.sha256)
        return data

    def _delete(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
            _sync_folder(file.parent)

    def _delete_folder(self, owner: Path) -> None:
        for _ in range(RACES):
            try:
                shutil.rmtree(owner)
            except FileNotFoundError:
                if not owner.exists():  # else a file went while its folder was read
                    return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:  # else a value came while the folder was emptied
                    raise
            else:
                _sync_folder(owner.parent)
                return
        raise Unavailable(f"{owner} is being written again and again")


def _write_whole(file: Path, data: bytes) -> None:
    """Write a file so that, whatever happens, it is there in full or not at all."""
    # Beside its target, so that what a crash leaves behind goes when the owner's values go.
    draft = file.with_name(f".{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
