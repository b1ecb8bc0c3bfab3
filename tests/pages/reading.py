"""Reading a page as a person does."""


def words(at):
    """Everything the page says, as one text; escapes of Markdown taken off."""
    kinds = ("title", "subheader", "caption", "markdown", "info", "warning", "error", "success")
    said = [str(e.value).replace("\\", "") for kind in kinds for e in getattr(at, kind)]
    return "\n".join([*said, *(e.proto.body for e in at.get("html"))])


def button(at, label):
    """The button that says ``label``; escapes of Markdown taken off."""
    return next(b for b in at.button if b.label.replace("\\", "") == label)


def column(at, name):
    """The values of a column of chips in the first table of the page."""
    return {value for cell in at.dataframe[0].value[name] if cell is not None for value in cell}
