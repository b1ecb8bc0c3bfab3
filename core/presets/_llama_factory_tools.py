"""How LLaMA-Factory 0.9.5 tells a model of tools and writes its calls: one protocol for each ``tool_format``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from core.errors import UserError

Call = tuple[str, Any]
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _text(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _bare(tool: Mapping[str, Any]) -> Any:
    return tool.get("function", "") if tool.get("type") == "function" else tool


def _wrapped(tool: Mapping[str, Any]) -> Any:
    return tool if tool.get("type") == "function" else {"type": "function", "function": tool}


# ------------------------------------------------------------------------------------------------- announcing tools


def _described(tool: Mapping[str, Any]) -> str:
    """A tool in the words of the format ``default``."""
    parameters = tool["parameters"]
    lines = []
    for name, about in parameters["properties"].items():
        kind = str(about.get("type", "")) + (", required" if name in parameters.get("required", []) else "")
        more = ", should be one of [{}]".format(", ".join(about["enum"])) if about.get("enum") else ""
        if about.get("items"):
            more += f", where each item should be {about['items'].get('type', '')}"
        lines.append(f"  - {name} ({kind}): {about.get('description', '')}{more}\n")
    head = f"> Tool Name: {tool['name']}\nTool Description: {tool.get('description', '')}\nTool Args:\n"
    return head + "".join(lines) + "\n"


def _listed(tools: Sequence[Mapping[str, Any]], form: str) -> str:
    """The tools one after the other, as ``form`` lays them out."""
    match form:
        case "default":
            return "".join(_described(_bare(t)) for t in tools)
        case "glm4":
            parts = [f"\n\n## {_bare(t)['name']}\n\n{_text(_bare(t), 4)}\n{_GLM4_CALL}" for t in tools]
            return "".join(parts)
        case "llama3":
            return "".join(_text(_wrapped(t), 4) + "\n\n" for t in tools)
        case "mistral":
            return _text([_wrapped(t) for t in tools])
        case "qwen" | "glm4_moe" | "ling":
            return "".join("\n" + _text(_wrapped(t)) for t in tools)
        case "qwen3_5":
            return "".join("\n" + _text(t.get("function", t) if t.get("type") == "function" else t) for t in tools)
        case "minimax1":
            return "".join(_text(_bare(t)) + "\n" for t in tools)
        case "minimax2":
            return "".join(f"<tool>{_text(_bare(t))}</tool>\n" for t in tools)
        case "gemma4":
            return "\n".join(map(_declared, tools))
        case "seed_oss":
            return "\n" + _text(list(tools))
        case _:
            return _text([t.get("function", t) if t.get("type") == "function" else t for t in tools])


_GLM4_CALL = "在调用上述函数时，请使用 Json 格式表示调用的参数。"


def announced(tools: str, form: str, prompts: Mapping[str, str], day: str) -> str:
    """The text that tells the model of the tools.

    Args:
        tools: JSON text of their definitions.
        form: the ``tool_format``.
        prompts: the frame of each form, ``{{tools}}`` where they go.
        day: the ISO date of training, which the form ``llama3`` writes.

    Raises:
        UserError: the definitions lack what the form writes, or the form is not rebuilt.
    """
    if form not in prompts:
        raise _not_rebuilt(form)
    try:
        defined = json.loads(tools)
        if not defined:
            return ""
        names = ", ".join(_bare(t)["name"] for t in defined) if form == "default" else ""
        listed = _listed(defined, form)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"LLaMA-Factory stops at this row: its tools cannot be written in the format {form}.",
            f"{type(error).__name__}: {error}. Each tool needs a name, and in the format default parameters with "
            "properties.",
            "Correct the row's tools, or remove it.",
        ) from error
    when = date.fromisoformat(day)
    frame = prompts[form].replace("{{date}}", f"{when.day:02} {MONTHS[when.month - 1]} {when.year}")
    before, after = frame.split("{{tools}}")
    return before + listed + after.replace("{{names}}", names)


def _quoted(value: Any) -> str:
    return f'<|"|>{value}<|"|>'


def _declared(tool: Mapping[str, Any]) -> str:
    """A tool as the format ``gemma4`` declares it."""

    def fields(about: Mapping[str, Any]) -> list[str]:
        kind = [f"type:{_quoted(str(about['type']).upper())}"] if about.get("type") else []
        return ([f"description:{_quoted(about['description'])}"] if about.get("description") else []) + kind

    tool = tool.get("function", tool) if tool.get("type") == "function" else tool
    text = f"declaration:{tool['name']}{{description:{_quoted(tool.get('description', ''))}"
    parameters = tool.get("parameters")
    if parameters:
        parts = []
        if parameters.get("properties"):
            each = (f"{name}:{{{','.join(fields(about))}}}" for name, about in parameters["properties"].items())
            parts.append(f"properties:{{{','.join(each)}}}")
        if parameters.get("required"):
            parts.append(f"required:[{','.join(map(_quoted, parameters['required']))}]")
        if parameters.get("type"):
            parts.append(f"type:{_quoted(str(parameters['type']).upper())}")
        text += f",parameters:{{{','.join(parts)}}}"
    response = tool.get("response")
    if response:
        described = {"description": response.get("description")}
        is_object = str(response.get("type", "")).upper() == "OBJECT"
        text += f",response:{{{','.join(fields(described | ({'type': 'OBJECT'} if is_object else {})))}}}"
    return text + "}"


# --------------------------------------------------------------------------------------------------- writing calls


def _tagged(arguments: Mapping[str, Any], form: str) -> str:
    """Arguments one by one: text as it is, everything else as JSON."""
    return "".join(form.format(k=k, v=v if isinstance(v, str) else _text(v)) for k, v in arguments.items())


def _python_call(call: Call) -> str:
    name, arguments = call
    values = (f'{k}="{v}"' if isinstance(v, str) else f"{k}={_text(v)}" for k, v in arguments.items())
    return f"{name}({', '.join(values)})"


def _gemma_value(value: Any) -> str:
    match value:
        case str():
            return _quoted(value)
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case dict():
            items = (f"{k}:{_gemma_value(value[k])}" for k in sorted(value))
            return f"{{{','.join(items)}}}"
        case list():
            return f"[{','.join(map(_gemma_value, value))}]"
        case _:
            return str(value)


def _gemma_call(call: Call) -> str:
    name, arguments = call
    inside = _gemma_value(arguments)[1:-1] if isinstance(arguments, dict) else _gemma_value(arguments)
    return f"<|tool_call>call:{name}{{{arguments if isinstance(arguments, str) else inside}}}<tool_call|>"


def _glm4(calls: Sequence[Call]) -> str:
    if len(calls) > 1:
        raise ValueError("the format glm4 has one call at a time")
    name, arguments = calls[0]
    return f"{name}\n{_text(arguments)}"


def _llama3(calls: Sequence[Call]) -> str:
    written = [{"name": name, "parameters": arguments} for name, arguments in calls]
    return _text(written[0] if len(written) == 1 else written)


def _json_calls(calls: Sequence[Call]) -> list[str]:
    return [_text({"name": name, "arguments": arguments}) for name, arguments in calls]


def _seed(calls: Sequence[Call]) -> str:
    # LLaMA-Factory leaves the bracket behind the name open.
    form = "\n<parameter={k}>{v}</parameter>"
    return "\n".join(
        f"\n<seed:tool_call>\n<function={n}{_tagged(a, form)}\n</function>\n</seed:tool_call>" for n, a in calls
    )


_QWEN35 = "\n<parameter={k}>\n{v}\n</parameter>"
_GLM4_MOE = "\n<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>"
_MINIMAX2 = '\n<parameter name="{k}">{v}</parameter>'
_WRITERS: Mapping[str, Callable[[Sequence[Call]], str]] = {
    "default": lambda calls: "\n".join(f"Action: {n}\nAction Input: {_text(a)}" for n, a in calls),
    "glm4": _glm4,
    "llama3": _llama3,
    "mistral": lambda calls: _text([{"name": n, "arguments": a} for n, a in calls]),
    "qwen": lambda calls: "\n".join(f"<tool_call>\n{t}\n</tool_call>" for t in _json_calls(calls)),
    "ling": lambda calls: "\n".join(f"<tool_call>\n{t}\n</tool_call>" for t in _json_calls(calls)),
    "qwen3_5": lambda calls: "\n".join(
        f"<tool_call>\n<function={n}>{_tagged(a, _QWEN35)}\n</function>\n</tool_call>" for n, a in calls
    ),
    "glm4_moe": lambda calls: "\n".join(f"\n<tool_call>{n}{_tagged(a, _GLM4_MOE)}" for n, a in calls),
    "minimax1": lambda calls: "<tool_calls>\n" + "\n".join(_json_calls(calls)) + "\n</tool_calls>",
    "minimax2": lambda calls: "\n".join(f'<invoke name="{n}">{_tagged(a, _MINIMAX2)}\n</invoke>' for n, a in calls),
    "seed_oss": _seed,
    "gemma4": lambda calls: "".join(map(_gemma_call, calls)),
    "lfm2": lambda calls: f"<|tool_call_start|>[{', '.join(map(_python_call, calls))}]<|tool_call_end|>",
}
FORMATS = tuple(_WRITERS)


def calls_text(
    content: str, form: str, thought: tuple[str, str] | None = None, tags: tuple[str, str] | None = None
) -> str:
    """The content of a turn that calls functions, as the format writes it.

    Args:
        content: JSON text of a call or a list of calls, with reasoning or text around it.
        thought: what encloses reasoning, which is kept before the calls; None: the template does not look for it.
        tags: what may enclose the JSON; what stands around it is kept before the calls.

    Raises:
        UserError: there is no such JSON in the content, or the format cannot write it.
    """
    if form not in _WRITERS:
        raise _not_rebuilt(form)
    before, body = "", content
    tagged = _between(tags, content)
    if tagged is not None:
        before, body = content.replace(tagged[0], ""), tagged[1]
    elif (reasoned := _between(thought, content)) is not None:
        before, body = reasoned[0], content.replace(reasoned[0], "")
    try:
        calls = json.loads(body)
        listed = calls if isinstance(calls, list) else [calls]
        return before + _WRITERS[form]([(call["name"], call["arguments"]) for call in listed])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"LLaMA-Factory stops at this row: a function call cannot be written in the format {form}.",
            f"{type(error).__name__}: {error}. The turn reads: {content[:200]!r}",
            "A call is the JSON text of an object with name and arguments. Correct the row, or remove it.",
        ) from error


def _between(words: tuple[str, str] | None, text: str) -> tuple[str, str] | None:
    """The first stretch of ``text`` that the two words enclose: with them, and without."""
    if words is None:
        return None
    match = re.search(f"{re.escape(words[0])}(.*?){re.escape(words[1])}", text, re.DOTALL)
    return (match[0], match[1]) if match else None


def _not_rebuilt(form: str) -> UserError:
    return UserError(
        f"The tool format {form} of LLaMA-Factory is not rebuilt.",
        "The row has tools or calls, which this template writes in that format.",
        f"Rebuilt are: {', '.join(FORMATS)}. Rows without tools can be diagnosed.",
    )
