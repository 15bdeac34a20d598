use super::*;
use std::fs;

fn list(files: &[(&str, &str)]) -> Result<Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = directory.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    listing("it", &directory.path().join("lib.rs"))
}

#[test]
fn each_item_is_listed_once_followed_by_its_other_names() {
    let root = "mod inner; pub mod outer; pub use outer::Thing; pub use heapless;
        #[cfg(test)] pub mod tests; pub(crate) fn own() {} #[doc(hidden)] pub fn hidden() {}";
    let outer =
        "pub use super::inner::Thing; pub fn new(from: &[u8], n: usize) -> Option<Thing> {}";
    let inner = "#[derive(Debug)] #[cfg_attr(feature = \"defmt\", derive(defmt::Format))]
        pub struct Thing<'a, const N: usize> { pub a: u8, b: u16, pub c: &'a mut [u8; N] }
        pub struct Private;
        impl<'a, const N: usize> Thing<'a, N> {
            pub const ONE: u8 = 1;
            pub async fn wait(&mut self, at: Instant) -> Result<(), Error<'_>> where Self: Sized {}
            pub(super) fn own(&self) {}
            fn none() {}
        }
        impl<'a> From<u8> for Thing<'a, 3> { fn from(_: u8) -> Self {} }";
    let files = [
        ("lib.rs", root),
        ("outer.rs", outer),
        ("inner/mod.rs", inner),
    ];
    let expected = "const it::outer::Thing::ONE: u8
async fn it::outer::Thing::wait(&mut self, at: Instant) -> Result<(), Error<'_>> where Self: Sized
field it::outer::Thing::a: u8
field it::outer::Thing::c: &'a mut [u8; N]
fn it::outer::new(from: &[u8], n: usize) -> Option<Thing>
impl it::outer::Thing: Debug
impl it::outer::Thing: defmt::Format
impl it::outer::Thing<'a, 3>: From<u8>
mod it
mod it::outer
struct it::outer::Thing<'a, const N: usize>
use it::Thing = it::outer::Thing
use it::heapless = heapless";
    let mut expected: Vec<&str> = expected.lines().collect();
    expected.sort();
    assert_eq!(list(&files).unwrap(), expected);
}

#[test]
fn each_enum_is_open_or_documents_why_not() {
    let open = "#[non_exhaustive] pub enum E { A, B { x: u8 }, C(u16) }";
    let lines = list(&[("lib.rs", open)]).unwrap();
    assert!(
        lines.contains(&"enum it::E (non_exhaustive)".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"field it::E::B::x: u8".to_owned()));
    assert!(lines.contains(&"field it::E::C::0: u16".to_owned()));
    let closed = "/// It.\n///\n/// Exhaustive: there are two.\npub enum E { A, B }";
    assert!(list(&[("lib.rs", closed)]).is_ok());
    let error = list(&[("lib.rs", "pub enum E { A }")]).unwrap_err();
    assert!(error.to_string().contains("it::E is neither"), "{error}");
    let both = format!("#[non_exhaustive]\n{closed}");
    assert!(list(&[("lib.rs", &both)]).is_err());
    assert!(list(&[("lib.rs", "enum Own { A }")]).is_ok());
}

#[test]
fn an_item_that_cannot_be_listed_is_an_error() {
    assert!(list(&[("lib.rs", "mod a; pub use a::*;"), ("a.rs", "")]).is_err());
    assert!(list(&[("lib.rs", "pub mod absent;")]).is_err());
    assert!(list(&[("lib.rs", "mod a; pub use a::Absent;"), ("a.rs", "")]).is_err());
}

#[test]
fn conditions_are_those_of_all_features() {
    let source = "#[cfg(not(feature = \"a\"))] pub fn without() {}
        #[cfg(all(feature = \"a\", any(feature = \"b\", test)))] pub fn with() {}
        #[cfg(lastbyte_sabotage)] pub fn broken() {}
        #[cfg(not(lastbyte_sabotage))] pub fn whole() {}";
    let lines = list(&[("lib.rs", source)]).unwrap();
    assert_eq!(lines, ["fn it::whole()", "fn it::with()", "mod it"]);
}

#[test]
fn items_of_a_macro_of_the_crate_are_listed_as_its_call() {
    let source = "macro_rules! make { ($a:ident) => {} } make!(A); std::thread_local! {}";
    let lines = list(&[("lib.rs", source)]).unwrap();
    assert_eq!(lines, ["macro in it: make!(A)", "mod it"]);
}

#[test]
fn a_difference_shows_removed_and_added_lines() {
    let present = ["fn a()".to_owned(), "fn c()".to_owned()];
    assert_eq!(
        difference("fn a()\nfn b()\n", &present),
        ["-fn b()", "+fn c()"]
    );
    assert!(difference("fn a()\nfn c()\n", &present).is_empty());
}
