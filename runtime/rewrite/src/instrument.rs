//! Writes the module that the engine runs. Consensus code: its output is hashed into the executable's id.
//!
//! Sections are encoded anew, so that two spellings of a number give one module. Custom sections carry no
//! meaning and are left out. Mutable globals become exports, the start section becomes an export.

use crate::{
    EXPORT_START, Refusal,
    admit::{Facts, invalid},
    global_export,
};
use wasm_encoder::{
    CodeSection, DataCountSection, DataSection, ElementSection, ExportKind, ExportSection, FunctionSection,
    GlobalSection, ImportSection, MemorySection, Module, TableSection, TypeSection,
    reencode::{self, Reencode, RoundtripReencoder},
};
use wasmparser::{BinaryReader, CodeSectionReader, Parser, Payload};

/// Encodes an admitted module with its state visible and nothing run at instantiation.
pub(crate) fn instrument(bytes: &[u8], facts: &Facts) -> Result<Vec<u8>, Refusal> {
    encode(bytes, facts).map_err(|error| match error {
        reencode::Error::ParseError(error) => invalid(None, &error),
        other => Refusal::Invalid { at: crate::At { function: None, offset: 0 }, reason: other.to_string() },
    })
}

fn encode(bytes: &[u8], facts: &Facts) -> Result<Vec<u8>, reencode::Error> {
    let mut module = Module::new();
    let pass = &mut RoundtripReencoder;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::TypeSection(section) => {
                let mut types = TypeSection::new();
                pass.parse_type_section(&mut types, section)?;
                module.section(&types);
            }
            Payload::ImportSection(section) => {
                let mut imports = ImportSection::new();
                pass.parse_import_section(&mut imports, section)?;
                module.section(&imports);
            }
            Payload::FunctionSection(section) => {
                let mut functions = FunctionSection::new();
                pass.parse_function_section(&mut functions, section)?;
                module.section(&functions);
            }
            Payload::TableSection(section) => {
                let mut tables = TableSection::new();
                pass.parse_table_section(&mut tables, section)?;
                module.section(&tables);
            }
            Payload::MemorySection(section) => {
                let mut memories = MemorySection::new();
                pass.parse_memory_section(&mut memories, section)?;
                module.section(&memories);
            }
            Payload::GlobalSection(section) => {
                let mut globals = GlobalSection::new();
                pass.parse_global_section(&mut globals, section)?;
                module.section(&globals);
            }
            Payload::ExportSection(section) => {
                let mut exports = ExportSection::new();
                pass.parse_export_section(&mut exports, section)?;
                for &(index, _) in &facts.globals {
                    exports.export(&global_export(index), ExportKind::Global, index);
                }
                if let Some(start) = facts.start {
                    exports.export(EXPORT_START, ExportKind::Func, start);
                }
                module.section(&exports);
            }
            Payload::ElementSection(section) => {
                let mut elements = ElementSection::new();
                pass.parse_element_section(&mut elements, section)?;
                module.section(&elements);
            }
            Payload::DataCountSection { count, .. } => {
                module.section(&DataCountSection { count });
            }
            Payload::CodeSectionStart { range, .. } => {
                let code = bytes.get(range.clone()).ok_or(reencode::Error::InvalidCodeSectionSize)?;
                let section = CodeSectionReader::new(BinaryReader::new(code, range.start))?;
                let mut bodies = CodeSection::new();
                pass.parse_code_section(&mut bodies, section)?;
                module.section(&bodies);
            }
            Payload::DataSection(section) => {
                let mut data = DataSection::new();
                pass.parse_data_section(&mut data, section)?;
                module.section(&data);
            }
            // The start section lives on as an export, bodies were encoded with their section, custom sections
            // are left out, and admission has refused every other kind.
            _ => {}
        }
    }
    Ok(module.finish())
}
