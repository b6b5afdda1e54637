//! What of a request its answer repeats, and how it is written in both.

use llm_core::{CompletionRequest, Json, ResponseFormat, Tool, ToolChoice, ToolKind};

use crate::wire::json::Writer;

/// Writes the members of an answer that repeat its request; without one, what holds unless a request says otherwise.
/// An answer that was made here is not kept, and says so.
pub(super) fn write_echo(writer: &mut Writer, request: Option<&CompletionRequest>) {
    writer.key("parallel_tool_calls").bool(request.and_then(|request| request.parallel_tool_calls).unwrap_or(true));
    writer.key("tool_choice");
    match request.and_then(|request| request.tool_choice.as_ref()) {
        Some(choice) => write_choice(writer, choice),
        None => writer.string("auto"),
    }
    writer.key("tools").array(|writer| {
        let tools = request.map_or(&[][..], |request| &request.tools);
        tools.iter().for_each(|tool| write_tool(writer, tool, false));
    });
    for (key, number) in [
        ("temperature", request.and_then(|request| request.temperature)),
        ("top_p", request.and_then(|request| request.top_p)),
    ] {
        if let Some(number) = number {
            writer.key(key).f64(number);
        }
    }
    if let Some(cap) = request.and_then(|request| request.max_tokens) {
        writer.key("max_output_tokens").integer(cap);
    }
    if let Some((_, metadata)) = request.and_then(|request| request.extra.iter().find(|(name, _)| name == "metadata")) {
        writer.key("metadata").json(metadata);
    }
    writer.key("store").bool(false);
}

pub(super) fn write_choice(writer: &mut Writer, choice: &ToolChoice) {
    let name = |writer: &mut Writer, name: &str| {
        writer.object(|writer| {
            writer.key("type").string("function");
            writer.key("name").string(name);
        });
    };
    match choice {
        ToolChoice::None => writer.string("none"),
        ToolChoice::Required => writer.string("required"),
        ToolChoice::Function(function) => name(writer, function),
        ToolChoice::Allowed { required, tools } => writer.object(|writer| {
            writer.key("type").string("allowed_tools");
            writer.key("mode").string(if *required { "required" } else { "auto" });
            writer.key("tools").array(|writer| tools.iter().for_each(|tool| name(writer, tool)));
        }),
        ToolChoice::Other(choice) => writer.json(choice),
        _ => writer.string("auto"),
    }
}

/// Writes a tool; if `plain`, as its caller's dialect means it, without what only that dialect knows. A function is
/// strict here unless it says that it is not.
pub(super) fn write_tool(writer: &mut Writer, tool: &Tool, plain: bool) {
    let described = |writer: &mut Writer, key: &str, json: Option<&Json>| {
        if let Some(description) = &tool.description {
            writer.key("description").string(description);
        }
        if let Some(json) = json {
            writer.key(key).json(json);
        }
    };
    if let ToolKind::Native(json) = &tool.kind {
        return writer.json(json);
    }
    writer.object(|writer| {
        if let ToolKind::Custom { format } = &tool.kind {
            writer.key("type").string("custom");
            writer.key("name").string(&tool.name);
            described(writer, "format", format.as_ref());
        } else {
            writer.key("type").string("function");
            writer.key("name").string(&tool.name);
            described(writer, "parameters", tool.parameters.as_ref());
            if plain && tool.parameters.is_none() {
                writer.key("parameters").text(r#"{"type":"object","properties":{}}"#);
            }
            if let Some(strict) = tool.strict.or(plain.then_some(false)) {
                writer.key("strict").bool(strict);
            }
        }
        if !plain {
            tool.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    });
}

pub(super) fn write_format(writer: &mut Writer, format: &ResponseFormat) {
    writer.object(|writer| match format {
        ResponseFormat::Text => writer.key("type").string("text"),
        ResponseFormat::JsonObject => writer.key("type").string("json_object"),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            writer.key("type").string("json_schema");
            writer.key("name").string(name);
            if let Some(description) = description {
                writer.key("description").string(description);
            }
            if let Some(schema) = schema {
                writer.key("schema").json(schema);
            }
            if let Some(strict) = strict {
                writer.key("strict").bool(*strict);
            }
        }
    });
}
