"""Git LFS over HTTP: the batch call, the signed addresses to which bytes go, and the list of what is kept."""

import asyncio
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local_hub.large_files import Address
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import Repository
from infra.local_hub.uploads import open_for_writing
from infra.local_hub.web.call import Call
from infra.local_hub.web.changes import contributable
from infra.local_hub.web.routing import Router
from infra.storage import disk_errors

router = Router()
_LFS_JSON = "application/vnd.git-lfs+json"
_WRITE_BYTES = 64 * 1024  # the page cache takes small pages for them, which are at hand; large ones are searched for


@router.add_files("POST", "{owner}/{name}/info/lfs/objects/batch")
def batch(call: Call, kind: str, owner: str, name: str) -> Response:
    """Where to send which large files."""
    repository = _uploadable(call, kind, owner, name, call.fields.inner("ref").optional_text("name"))
    guest = "" if call.hub.accounts.may_write(call.viewer, repository.owner) else call.user().id
    answer = call.hub.large_files.batch(repository, call.fields, call.base_url, guest)
    return JSONResponse(answer, media_type=_LFS_JSON)


@router.add_files("POST", "{owner}/{name}/info/lfs/objects/verify")
def verify(call: Call, kind: str, owner: str, name: str) -> Response:
    """Whether a large file arrived."""
    repository = call.readable(kind, owner, name.removesuffix(".git"))
    oid = call.fields.text("oid")
    held = call.hub.large_files.held(repository.id, oid)
    if held is None or held != call.fields.number("size"):
        raise Refusal(404, f"The large file {oid[:64]} did not arrive")
    return Response(status_code=200)


@router.add("PUT", "/api/lfs/{repository}/{sha256}/{size}/{part}", streams=True)
async def receive(call: Call, request: Request, repository: str, sha256: str, size: str, part: str) -> Response:
    """Take the bytes of a large file, or of one part; the signature of the address is all the right that is needed."""
    address = await call.in_thread(_address, call, repository, sha256, size, part)
    place = call.hub.large_files.place(address)
    finished = False
    try:
        digest, received = await _write(call, request, place, address)
        if address.part:
            await call.in_thread(call.hub.large_files.finish_part, address, digest, received)
        else:
            await call.in_thread(call.hub.large_files.finish_whole, address, place, digest, received)
        finished = True
    finally:
        if not finished and not address.part:
            place.unlink(missing_ok=True)
    return Response(status_code=200, headers={"ETag": f'"{digest}"'})


@router.add("POST", "/api/lfs-complete/{repository}/{sha256}/{size}/{part}")
def complete(call: Call, repository: str, sha256: str, size: str, part: str) -> Response:
    """Put the parts of a large file together."""
    address = _address(call, repository, sha256, size, part)
    call.hub.large_files.finish_parts(
        address, {part.number("partNumber"): part.text("etag") for part in call.fields.objects("parts")}
    )
    return Response(status_code=200)


@router.add("GET", "/api/{kind}/{owner}/{name}/lfs-files")
def listed(call: Call, kind: str, owner: str, name: str) -> Response:
    """Every large file that a repository holds."""
    return call.page(call.hub.large_files.listed(call.writable(kind, owner, name)))


@router.add("POST", "/api/{kind}/{owner}/{name}/lfs-files/batch")
def remove(call: Call, kind: str, owner: str, name: str) -> Response:
    """Delete large files for good, from the trees of all references too."""
    repository, viewer = call.writable(kind, owner, name), call.user()
    named = set(call.fields.inner("deletions").texts("sha"))
    with call.hub.store.transaction() as database:
        call.hub.history(repository).forget(database, viewer, named)
        call.hub.large_files.forget(database, repository, named)
    call.hub.store.sweep()
    return Response(status_code=200)


def _uploadable(call: Call, kind: str, owner: str, name: str, revision: str | None) -> Repository:
    """The repository, if the caller may write to it, or may open a pull request there, as everybody may who sees its content."""
    bare = name.removesuffix(".git")
    repository = call.readable(kind, owner, bare)
    if call.hub.accounts.may_write(call.viewer, repository.owner):
        return repository
    call.writer()
    if (revision or "").startswith("refs/pr/"):
        return contributable(call, kind, owner, bare, revision)
    call.hub.repositories.check_content(call.viewer, repository)
    return repository  # clients do not say here that they will propose a pull request; nothing shows the file until a commit names it


def _address(call: Call, repository: str, sha256: str, size: str, part: str) -> Address:
    return call.hub.large_files.checked_address(repository, sha256, size, part, call.query)


async def _write(call: Call, request: Request, place: Path, address: Address) -> tuple[str, int]:
    """Write the body, hashing in a thread while the next block arrives in the other of two buffers; SHA-256 and size.

    Raises:
        Refusal: more bytes come than were announced.

    """
    digest, received = hashlib.sha256(), 0
    transfers = call.hub.store.transfers
    with disk_errors(place), open_for_writing(place, address.offset) as stream, transfers.block_bytes() as most:

        def put(block: memoryview) -> None:
            digest.update(block)
            while block:
                block = block[stream.write(block[:_WRITE_BYTES]) :]

        most = max(1, min(most, address.part_bytes))
        buffers, filled = (memoryview(bytearray(most)), memoryview(bytearray(most))), 0
        writing: asyncio.Task[None] | None = None
        try:
            async for chunk in request.stream():
                received += len(chunk)
                if received > address.part_bytes:
                    raise bad_request(f"More than the {address.part_bytes} bytes came that were announced for {address.sha256}")
                rest = memoryview(chunk)
                while rest:
                    taken = min(len(rest), most - filled)
                    buffers[0][filled : filled + taken] = rest[:taken]
                    rest, filled = rest[taken:], filled + taken
                    if filled == most:
                        if writing:
                            await writing
                        writing = asyncio.create_task(asyncio.to_thread(put, buffers[0]))
                        buffers, filled = buffers[::-1], 0
        finally:
            if writing:
                await writing
        await asyncio.to_thread(put, buffers[0][:filled])
    return digest.hexdigest(), received
