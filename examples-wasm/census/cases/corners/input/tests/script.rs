#!/usr/bin/env rust-script "

fn main() {}
/* never closed: unsafe