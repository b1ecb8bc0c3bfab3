"""Reading a page as a person does."""

import json


def words(at):
    """Everything the page says, as one text; escapes of Markdown taken off."""
    kinds = ("title", "subheader", "caption", "markdown", "info", "warning", "error", "success")
    said = [str(e.value).replace("\\", "") for kind in kinds for e in getattr(at, kind)]
    return "\n".join([*said, *(e.proto.body for e in at.get("html"))])


def button(at, label):
    """The button that says ``label``; escapes of Markdown taken off."""
    return next(b for b in at.button if b.label.replace("\\", "") == label)


def links(at):
    """Label and address of the downloads."""
    found = [e for e in at.get("bidi_component") if "downloads" in e.proto.component_name]
    return {link["label"]: link["url"] for e in found for link in json.loads(e.proto.json)}


def list_data(at):
    """What the list of rows was given to draw."""
    component = next(e for e in at.get("bidi_component") if e.proto.component_name == "lacuna.rows")
    return json.loads(component.proto.json)


def rows(at):
    """The rows of the table, or of the list beside an open row."""
    return list_data(at)["rows"]


def ordinals(at):
    return [int(row["cells"]["ordinal"].replace(",", "")) for row in rows(at)]


def act(at, do, **more):
    """Does to the rows what a key or a click in the browser does."""
    at.session_state["w:rows:act"] = {"do": do, **more}
    at.run()


def column(at, name):
    """The texts of a column of chips."""
    return {row["cells"][name]["text"] for row in rows(at) if row["cells"][name] is not None}
