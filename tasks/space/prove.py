"""Does the demo serve the model that was measured? It is asked through its own API and must answer as evaluation did.

Clips that the base model hears differently are asked first: an app that silently serves the base model fails on them.
"""

from collections.abc import Sequence

from infra.errors import SpaceError
from tasks.contracts import Example, Proof


def prove(url: str, clips: Sequence[Example]) -> tuple[Proof, ...]:
    """Ask the demo at `url` for every clip.

    Raises:
        SpaceError: an answer differs from what evaluation heard.

    """
    import httpx
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(url, verbose=False, analytics_enabled=False)
    proofs = []
    for clip in clips:
        try:
            answered = client.predict(handle_file(str(clip.audio_path)), clip.language, api_name="/transcribe")
        except (AppError, httpx.HTTPError) as error:
            raise SpaceError(f"The demo failed on {clip.audio_path.name}: {error}", "Read space.log in its folder") from error
        proof = Proof(
            audio_path=clip.audio_path, reference=clip.reference, expected=clip.tuned, answered=str(answered), base=clip.base
        )
        if not proof.holds:
            served = "the base model" if proof.answered == proof.base else "another model"
            raise SpaceError(
                f"The demo answers {proof.answered!r}, evaluation heard {proof.expected!r}: it serves {served}",
                "Deploy it again",
            )
        proofs.append(proof)
    return tuple(proofs)
