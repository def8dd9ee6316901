//! Prints the exported surface of a built library as UDL, UniFFI's interface language.
//!
//! `cargo run -p uniffi-bindgen --bin udl -- LIBRARY`
//!
//! The source of truth is the library: the output is for people to read and for CI to see when it changes. It is read
//! back with UniFFI's own parser before it is printed, so that it is complete and valid UDL.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use uniffi_bindgen::interface::{
    Argument, AsType, ComponentInterface, Constructor, Enum, Field, Function, Method, Object, ObjectImpl,
    Record, TraitKind, Type,
};
use uniffi_bindgen::{BindgenLoader, BindgenPaths, GlobalConfig};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "udl: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(library), None) = (args.next(), args.next()) else {
        return Err("usage: udl LIBRARY".into());
    };
    let loader = BindgenLoader::new(BindgenPaths::default(), GlobalConfig::default());
    let interfaces = loader.load_cis(loader.load_metadata(library.as_str().into())?)?;
    let [interface] = interfaces.as_slice() else {
        return Err(format!("{library} exports {} namespaces, not one", interfaces.len()).into());
    };
    let text = render(interface, Order::Declared)?;
    let parsed = ComponentInterface::from_webidl(&text, interface.crate_name())?;
    let sorted = |ci| render(ci, Order::Name).map(|text| without_remarks(&text));
    let (wanted, read) = (sorted(interface)?, sorted(&parsed)?);
    if wanted != read {
        let differs = wanted.lines().zip(read.lines()).find(|(a, b)| a != b);
        return Err(format!("this printer cannot express as UDL what is at {differs:?}").into());
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Order of the methods of a trait that other languages implement. The declared one is part of its binary form; the parser of
/// UDL sorts by name.
#[derive(Clone, Copy)]
enum Order {
    Declared,
    Name,
}

/// UDL cannot say everything; what it cannot is a plain comment.
fn without_remarks(text: &str) -> String {
    let is_remark = |line: &&str| line.trim_start().starts_with("// ");
    text.lines().filter(|line| !is_remark(line)).collect::<Vec<_>>().join("\n")
}

/// The whole surface, in a fixed order: functions, then errors and enums, records, objects and interfaces by name.
fn render(ci: &ComponentInterface, order: Order) -> Result<String, Box<dyn Error>> {
    let mut out =
        String::from("// Generated from the built library; `udl/check --write` renews it. Do not edit.\n\n");
    writeln!(out, "namespace {} {{", ci.namespace())?;
    let mut functions: Vec<&Function> = ci.function_definitions().iter().collect();
    functions.sort_by_key(|f| f.name());
    for function in functions {
        doc(&mut out, 1, function.docstring())?;
        let attributes = callable(function.is_async(), function.throws_type(), None)?;
        let result = function.return_type().map_or(Ok("void".to_owned()), type_name)?;
        writeln!(out, "{attributes}  {result} {}({});", function.name(), arguments(&function.arguments())?)?;
    }
    out.push_str("};\n");

    let mut enums: Vec<&Enum> = ci.enum_definitions().iter().collect();
    enums.sort_by_key(|e| (!ci.is_name_used_as_error(e.name()), e.name().to_owned()));
    for e in enums {
        enumeration(&mut out, e, ci.is_name_used_as_error(e.name()))?;
    }
    let mut records: Vec<&Record> = ci.record_definitions().iter().collect();
    records.sort_by_key(|r| r.name());
    for r in records {
        record(&mut out, r)?;
    }
    let mut objects: Vec<&Object> = ci.object_definitions().iter().collect();
    objects.sort_by_key(|o| (o.is_trait_interface(), o.name().to_owned()));
    for o in objects {
        object(&mut out, o, order)?;
    }
    if !ci.callback_interface_definitions().is_empty() {
        return Err("callback interfaces are deprecated: export a trait with `with_foreign`".into());
    }
    Ok(out)
}

fn enumeration(out: &mut String, e: &Enum, error: bool) -> Result<(), Box<dyn Error>> {
    if !e.methods().is_empty() || !e.constructors().is_empty() {
        return Err(format!("enum {}: methods are not supported", e.name()).into());
    }
    out.push('\n');
    doc(out, 0, e.docstring())?;
    if e.is_non_exhaustive() {
        out.push_str("// More variants may come.\n");
    }
    if e.variants().iter().any(|v| v.has_fields()) {
        writeln!(out, "[{}]", if error { "Error" } else { "Enum" })?;
        writeln!(out, "interface {} {{", e.name())?;
        for variant in e.variants() {
            if variant.has_nameless_fields() {
                return Err(format!("{}.{}: fields need names", e.name(), variant.name()).into());
            }
            doc(out, 1, variant.docstring())?;
            let fields =
                variant.fields().iter().map(|f| Ok(format!("{} {}", type_name(&f.as_type())?, f.name())));
            let fields = fields.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
            writeln!(out, "  {}({});", variant.name(), fields.join(", "))?;
        }
    } else {
        if error {
            out.push_str("[Error]\n");
        }
        writeln!(out, "enum {} {{", e.name())?;
        for variant in e.variants() {
            doc(out, 1, variant.docstring())?;
            writeln!(out, "  \"{}\",", variant.name())?;
        }
    }
    out.push_str("};\n");
    Ok(())
}

fn record(out: &mut String, r: &Record) -> Result<(), Box<dyn Error>> {
    if !r.methods().is_empty() || !r.constructors().is_empty() {
        return Err(format!("record {}: methods are not supported", r.name()).into());
    }
    out.push('\n');
    doc(out, 0, r.docstring())?;
    writeln!(out, "dictionary {} {{", r.name())?;
    for field in r.fields() {
        doc(out, 1, field.docstring())?;
        writeln!(out, "  {} {};", type_name(&field_type(field)?)?, field.name())?;
    }
    out.push_str("};\n");
    Ok(())
}

fn field_type(field: &Field) -> Result<Type, Box<dyn Error>> {
    if field.default_value().is_some() {
        return Err(format!("field {}: default values are not supported", field.name()).into());
    }
    Ok(field.as_type())
}

fn object(out: &mut String, o: &Object, order: Order) -> Result<(), Box<dyn Error>> {
    if !o.uniffi_traits().is_empty() {
        return Err(format!("object {}: exported traits are not supported", o.name()).into());
    }
    out.push('\n');
    doc(out, 0, o.docstring())?;
    match o.imp() {
        ObjectImpl::Struct => {}
        ObjectImpl::Trait(TraitKind::RustOnly) => out.push_str("[Trait]\n"),
        ObjectImpl::Trait(TraitKind::Both) => out.push_str("[Trait, WithForeign]\n"),
        ObjectImpl::Trait(TraitKind::ForeignOnly) => {
            return Err(format!("{}: UDL knows no foreign-only traits; use `with_foreign`", o.name()).into());
        }
    }
    writeln!(out, "interface {} {{", o.name())?;
    let mut constructors = o.constructors();
    constructors.sort_by_key(|c| c.name().to_owned());
    for c in constructors {
        constructor(out, c)?;
    }
    let mut methods = o.methods();
    if !o.is_trait_interface() || matches!(order, Order::Name) {
        methods.sort_by_key(|m| m.name().to_owned());
    }
    for m in methods {
        method(out, m)?;
    }
    out.push_str("};\n");
    Ok(())
}

fn constructor(out: &mut String, c: &Constructor) -> Result<(), Box<dyn Error>> {
    doc(out, 1, c.docstring())?;
    let name = (!c.is_primary_constructor()).then(|| c.name());
    out.push_str(&callable(c.is_async(), c.throws_type(), name)?);
    writeln!(out, "  constructor({});", arguments(&c.arguments())?)?;
    Ok(())
}

fn method(out: &mut String, m: &Method) -> Result<(), Box<dyn Error>> {
    doc(out, 1, m.docstring())?;
    out.push_str(&callable(m.is_async(), m.throws_type(), None)?);
    let result = m.return_type().map_or(Ok("void".to_owned()), type_name)?;
    writeln!(out, "  {result} {}({});", m.name(), arguments(&m.arguments())?)?;
    Ok(())
}

/// The line of attributes above a function, if it has any.
fn callable(is_async: bool, throws: Option<&Type>, name: Option<&str>) -> Result<String, Box<dyn Error>> {
    let mut attributes = Vec::new();
    if is_async {
        attributes.push("Async".to_owned());
    }
    if let Some(name) = name {
        attributes.push(format!("Name={name}"));
    }
    if let Some(throws) = throws {
        attributes.push(format!("Throws={}", type_name(throws)?));
    }
    Ok(if attributes.is_empty() { String::new() } else { format!("  [{}]\n", attributes.join(", ")) })
}

fn arguments(arguments: &[&Argument]) -> Result<String, Box<dyn Error>> {
    let each = arguments.iter().map(|a| {
        if a.default_value().is_some() {
            return Err(format!("argument {}: default values are not supported", a.name()).into());
        }
        let by_ref = if a.by_ref() { "[ByRef] " } else { "" };
        Ok(format!("{by_ref}{} {}", type_name(&a.as_type())?, a.name()))
    });
    Ok(each.collect::<Result<Vec<_>, Box<dyn Error>>>()?.join(", "))
}

fn type_name(t: &Type) -> Result<String, Box<dyn Error>> {
    Ok(match t {
        Type::UInt8 => "u8".into(),
        Type::Int8 => "i8".into(),
        Type::UInt16 => "u16".into(),
        Type::Int16 => "i16".into(),
        Type::UInt32 => "u32".into(),
        Type::Int32 => "i32".into(),
        Type::UInt64 => "u64".into(),
        Type::Int64 => "i64".into(),
        Type::Float32 => "float".into(),
        Type::Float64 => "double".into(),
        Type::Boolean => "boolean".into(),
        Type::String => "string".into(),
        Type::Bytes => "bytes".into(),
        Type::Timestamp => "timestamp".into(),
        Type::Duration => "duration".into(),
        Type::Object { name, .. } | Type::Record { name, .. } | Type::Enum { name, .. } => name.clone(),
        Type::Optional { inner_type } => format!("{}?", type_name(inner_type)?),
        Type::Sequence { inner_type } => format!("sequence<{}>", type_name(inner_type)?),
        Type::Map { key_type, value_type } => {
            format!("record<{}, {}>", type_name(key_type)?, type_name(value_type)?)
        }
        other => return Err(format!("the type {other:?} is not supported").into()),
    })
}

fn doc(out: &mut String, indent: usize, text: Option<&str>) -> std::fmt::Result {
    for line in text.unwrap_or_default().lines() {
        let line = format!("{}/// {}", "  ".repeat(indent), line.trim());
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURFACE: &str = r#"
        namespace sample {
          /// Adds.
          u64 add(u32 a, i8? b);
        };
        /// What failed.
        [Error]
        interface Failure {
          /// Bad.
          Bad(string reason, u32? line);
        };
        enum Kind { "One", "Two", };
        dictionary Settings { sequence<string> names; record<string, u16> ports; Kind kind; };
        interface Thing {
          /// Opens it.
          ///
          /// Twice is fine.
          [Async, Name=open, Throws=Failure]
          constructor(Settings settings);
          [Throws=Failure]
          void send([ByRef] bytes data);
          [Async]
          Settings? next();
        };
        [Trait, WithForeign]
        interface Listener {
          [Throws=Failure]
          void on_text(string text);
          void before(string text);
        };
    "#;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let first =
            render(&ComponentInterface::from_webidl(SURFACE, "sample").unwrap(), Order::Name).unwrap();
        for part in [
            "u64 add(u32 a, i8? b);",
            "  /// Opens it.\n  ///\n  /// Twice is fine.\n  [Async, Name=open, Throws=Failure]\n  constructor(Settings settings);",
            "[Error]\ninterface Failure {\n  /// Bad.\n  Bad(string reason, u32? line);",
            "void send([ByRef] bytes data);",
            "[Trait, WithForeign]\ninterface Listener {",
            "record<string, u16> ports;",
        ] {
            assert!(first.contains(part), "{part}\nmissing in\n{first}");
        }
        let second =
            render(&ComponentInterface::from_webidl(&first, "sample").unwrap(), Order::Name).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn a_changed_surface_prints_differently() {
        let one = render(&ComponentInterface::from_webidl(SURFACE, "sample").unwrap(), Order::Name).unwrap();
        let changed = SURFACE.replace("u32? line", "u64? line");
        let two = render(&ComponentInterface::from_webidl(&changed, "sample").unwrap(), Order::Name).unwrap();
        assert_ne!(one, two);
    }
}
