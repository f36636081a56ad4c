//! The attribute `#[samebit::task]`.
//!
//! It adds the exports of the ABI (`spec/03-execution.md`, section 3) beside a function, a struct or an `impl Steps`,
//! on Wasm only, and changes nothing of what it stands on. The code it adds calls `samebit::guest`, where all the
//! work is done.
#![forbid(unsafe_code)]

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, FnArg, GenericArgument, Item, ItemFn, ItemImpl, PathArguments, ReturnType, Type, spanned::Spanned};

/// Makes a task of a function or of a stepped struct.
///
/// - On `fn name(input: I) -> O` or `-> Result<O, E>`, with `I: Deserialize`, `O: Serialize`, `E: Display`: a task of
///   one step. Without an argument no input is read. `Result` has to be written out, not hidden in an alias.
/// - On a struct, or on its `impl samebit::Steps` or `impl samebit::Pieces`: a task in steps.
///
/// A crate has one task. The exports are made on Wasm only; elsewhere the item stays as it is.
#[proc_macro_attribute]
pub fn task(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    let exports = exports(arguments.into(), item.clone()).unwrap_or_else(Error::into_compile_error);
    quote!(#item #exports).into()
}

fn exports(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    if !arguments.is_empty() {
        return Err(Error::new(arguments.span(), "#[samebit::task] takes no arguments"));
    }
    match syn::parse2(item)? {
        Item::Fn(function) => function_exports(&function),
        Item::Struct(item) => stepped_exports(&item.ident, &item.generics),
        Item::Enum(item) => stepped_exports(&item.ident, &item.generics),
        Item::Impl(item) => {
            is_steps(&item)?;
            stepped_exports(&item.self_ty, &item.generics)
        }
        other => Err(Error::new(other.span(), "#[samebit::task] stands on a function, a struct or an `impl Steps`")),
    }
}

fn function_exports(function: &ItemFn) -> Result<TokenStream, Error> {
    let signature = &function.sig;
    no_generics(&signature.generics)?;
    if let Some(qualifier) = signature.asyncness.map(|it| it.span()).or(signature.unsafety.map(|it| it.span())) {
        return Err(Error::new(qualifier, "a task is a plain function, neither async nor unsafe"));
    }
    let name = &signature.ident;
    let (input, argument) = match signature.inputs.iter().collect::<Vec<_>>()[..] {
        [] => (quote!(()), quote!()),
        [FnArg::Typed(argument)] => (argument.ty.to_token_stream(), quote!(input)),
        [FnArg::Receiver(receiver)] => return Err(Error::new(receiver.span(), "a task is no method")),
        [_, second, ..] => {
            return Err(Error::new(
                second.span(),
                "a task has one input: put several values into a struct that derives Deserialize",
            ));
        }
    };
    let call = match returns(&signature.output) {
        Returns::Result => quote!(#name(#argument)),
        Returns::Value(output) => {
            quote!(::core::result::Result::<#output, ::core::convert::Infallible>::Ok(#name(#argument)))
        }
    };
    let binding = if argument.is_empty() { quote!(_) } else { quote!(input) };
    Ok(guest(
        &quote!(),
        &quote!(samebit::guest::READY),
        &quote!(samebit::guest::call(|#binding: #input| #call)),
        &quote!(samebit::guest::FINISHED),
    ))
}

/// What a function gives.
enum Returns {
    /// A `Result`.
    Result,
    /// The output itself.
    Value(TokenStream),
}

fn returns(output: &ReturnType) -> Returns {
    let ReturnType::Type(_, output) = output else {
        return Returns::Value(quote!(()));
    };
    if let Type::Path(path) = &**output
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && arguments.args.iter().any(|argument| matches!(argument, GenericArgument::Type(_)))
    {
        return Returns::Result;
    }
    Returns::Value(output.to_token_stream())
}

fn is_steps(item: &ItemImpl) -> Result<(), Error> {
    match &item.trait_ {
        Some((_, path, _))
            if path.segments.last().is_some_and(|last| last.ident == "Steps" || last.ident == "Pieces") =>
        {
            Ok(())
        }
        Some(_) | None => Err(Error::new(
            item.self_ty.span(),
            "of impls, #[samebit::task] stands on `impl Steps` and `impl Pieces` only",
        )),
    }
}

fn stepped_exports(task: &impl ToTokens, generics: &syn::Generics) -> Result<TokenStream, Error> {
    no_generics(generics)?;
    Ok(guest(
        &quote! {
            ::std::thread_local! {
                static TASK: ::core::cell::RefCell<::core::option::Option<#task>> =
                    const { ::core::cell::RefCell::new(::core::option::Option::None) };
            }
        },
        &quote!(samebit::guest::init::<#task>(&TASK)),
        &quote!(samebit::guest::step::<#task>(&TASK, budget)),
        &quote!(samebit::guest::finish::<#task>(&TASK)),
    ))
}

fn no_generics(generics: &syn::Generics) -> Result<(), Error> {
    if generics.params.is_empty() {
        Ok(())
    } else {
        Err(Error::new(generics.span(), "a task is one concrete thing: it has no generic parameters"))
    }
}

/// The three exports. The attribute says `unsafe` because symbol names are global; the names are the ABI's own.
fn guest(state: &TokenStream, init: &TokenStream, step: &TokenStream, finish: &TokenStream) -> TokenStream {
    quote! {
        #[cfg(target_family = "wasm")]
        const _: () = {
            #state
            #[unsafe(no_mangle)]
            extern "C" fn samebit_init() -> i32 {
                #init
            }
            #[unsafe(no_mangle)]
            extern "C" fn samebit_step(budget: i64) -> i32 {
                let _ = budget;
                #step
            }
            #[unsafe(no_mangle)]
            extern "C" fn samebit_finish() -> i32 {
                #finish
            }
        };
    }
}
