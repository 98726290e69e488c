"""What schemathesis must leave alone, and names of things that are there."""

import json
import os

import schemathesis

# They end the client or its session, or wait for as long as they are told.
LEFT_OUT = {
    "shutdown", "logout", "delete_account", "change_password", "login", "wait_trackers",
    "forget_device", "delete_group", "rename_group", "leave_group", "transfer_group", "revoke_token",
}
# Of the tracker: its key, its account of the tests, and what waits for other trackers.
LEFT_OUT_ADMIN = {"rotate_key", "disable_user", "delete_user", "reset_password", "remove_tracker"}
# Without `torrent-remove`, which would take the files of the other tests.
RPC_METHODS = [
    "torrent-get", "session-get", "session-stats", "free-space", "torrent-add", "torrent-start",
    "torrent-start-now", "torrent-stop", "torrent-set", "queue-move-top", "session-set", "no-method",
]


@schemathesis.hook
def filter_case(context, case):
    body = case.body
    if not isinstance(body, dict):
        return True
    word = body.get("command")
    return not (isinstance(word, str) and word.strip() in LEFT_OUT | LEFT_OUT_ADMIN)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of the contents are ones that are there."""
    names = {"file": {"group": "POSSE_GROUP", "file": "POSSE_FILE"}, "id": {"id": "POSSE_LINK"}}
    for name, known in names.items():
        if path_parameters and name in path_parameters and len(str(path_parameters[name])) % 2:
            return {**path_parameters, **{key: os.environ[at] for key, at in known.items()}}
    return path_parameters


@schemathesis.hook
def map_query(context, query):
    """Half of the dropped files have a place and a group."""
    if query and isinstance(query.get("directory"), str) and len(query["directory"]) % 2:
        return {**query, "directory": os.environ["POSSE_FILES"], "group": os.environ["POSSE_GROUP"]}
    return query


@schemathesis.hook
def before_call(context, case, kwargs):
    """Half of the commands name what is there. Values of a wrong type stay."""
    body = case.body
    if case.path.startswith("/transmission") and len(repr(body)) % 4:
        case.headers["X-Transmission-Session-Id"] = os.environ["POSSE_RPC"]
        if isinstance(body, dict) and isinstance(body.get("method"), str):
            body["method"] = RPC_METHODS[len(repr(body)) % len(RPC_METHODS)]
        return
    if not isinstance(body, dict) or len(repr(body)) % 2:
        return
    files = os.environ["POSSE_FILES"]
    known = {
        "group": os.environ["POSSE_GROUP"],
        "file": os.environ["POSSE_SPARE"],
        "user": "nik",
        "path": os.path.join(files, os.environ["POSSE_SPARE"]),
        "destination": files,
    }
    for key in known.keys() & body.keys():
        if isinstance(body[key], str):
            body[key] = known[key]


@schemathesis.deserializer("application/x-ndjson")
def last_line(context, response):
    """The schema is that of one line."""
    return json.loads(response.content.splitlines()[-1])
