//! Puts the recipes of `configs/` into the program, each by the name of its file: a file there is all that a recipe takes.

use std::{env, fs, path::Path};

fn main() {
    let configs = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("configs");
    println!("cargo::rerun-if-changed={}", configs.display());
    let files = fs::read_dir(&configs).expect("configs/ is a folder").map(|file| file.expect("can be read").path());
    let mut recipes: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "toml")).collect();
    recipes.sort();
    let list = recipes.iter().map(|file| {
        let name = file.file_stem().expect("a file has a name").to_string_lossy();
        format!("({name:?}, include_str!({file:?})),\n")
    });
    let table = format!("[\n{}]", list.collect::<String>());
    fs::write(Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("recipes.rs"), table)
        .expect("can be written");
}
