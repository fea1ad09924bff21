"""Signing in with a browser: a short-lived link becomes a cookie that may read and nothing else.

Browsers send cookies to every port of a machine, so others may come to see it: as a token it is worth nothing, only as a cookie.
"""

import hashlib
import hmac
import time
from urllib.parse import quote

from infra.local_hub.accounts import Viewer
from infra.local_hub.fields import whole
from infra.local_hub.hub import Hub
from infra.local_hub.refusal import Refusal

COOKIE = "voxfactory-hub-session"
SESSION_HOURS = 12
_LINK_LIFE_S = 300
_LABEL = "browser"


def sign_in_path(hub: Hub, account: str) -> str:
    """An address that signs an account in, for five minutes."""
    expires = int(time.time()) + _LINK_LIFE_S
    return f"/sign-in?account={quote(account)}&expires={expires}&signature={_signature(hub, account, expires)}"


def session_of_link(hub: Hub, account: str, expires: str, signature: str) -> str:
    """The session that a sign-in link is good for.

    Raises:
        Refusal: this Hub did not sign it, or it is too old.

    """
    until = whole(expires) or 0
    fits = hmac.compare_digest(signature.encode(), _signature(hub, account, until).encode())
    if not fits or until < time.time():
        raise Refusal(403, "This link is no longer good: ask for another one with `voxfactory hub sign-in`")
    return _session(hub, account)


def session_of_token(hub: Hub, token: str) -> str:
    """The session that a token is good for."""
    return _session(hub, viewer_of_token(hub, token).name)


def viewer_of_token(hub: Hub, token: str) -> Viewer:
    """Whose token it is.

    Raises:
        Refusal: nobody's, it expired, or it is a session.

    """
    viewer = hub.accounts.viewer(token)
    if viewer.token_label == _LABEL:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return viewer


def viewer_of(hub: Hub, session: str | None) -> Viewer | None:
    """Who is signed in; an old session is nobody's."""
    if not session:
        return None
    try:
        viewer = hub.accounts.viewer(session)
    except Refusal:
        return None
    return viewer if viewer.token_label == _LABEL else None


def _session(hub: Hub, account: str) -> str:
    return hub.accounts.add_token(account, role="read", label=_LABEL, hours=SESSION_HOURS)


def _signature(hub: Hub, account: str, expires: int) -> str:
    return hmac.new(hub.store.signing_key, f"sign-in {account} {expires}".encode(), hashlib.sha256).hexdigest()
