//! An everyday program: files, folders, maps with random hashing, clocks. It knows nothing of where it runs.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fs,
    hash::{BuildHasher, Hasher},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    thread,
    time::{Duration, Instant, SystemTime},
};

fn main() -> io::Result<()> {
    let begun = Instant::now();
    let mut words: HashMap<String, usize> = HashMap::new();
    for line in BufReader::new(fs::File::open("/in/input")?).lines() {
        for word in line?.split_whitespace() {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    fs::create_dir_all("/out/by/count")?;
    // In the map's own order, which the hash's random keys decide.
    let mut all = fs::File::create("/out/all.txt")?;
    for (word, count) in &words {
        writeln!(all, "{word} {count}")?;
        let mut of = fs::OpenOptions::new().append(true).create(true).open(format!("/out/by/count/{count}"))?;
        writeln!(of, "{word}")?;
    }
    drop(all);
    let mut names: Vec<_> = fs::read_dir("/out/by/count")?.collect::<Result<_, _>>()?;
    names.sort_by_key(fs::DirEntry::path);
    for entry in &names {
        println!("{:?} {} bytes", entry.file_name(), entry.metadata()?.len());
    }
    fs::rename("/out/all.txt", "/out/words.txt")?;
    fs::copy("/out/words.txt", "/out/copy.txt")?;
    let mut copy = fs::OpenOptions::new().read(true).write(true).open("/out/copy.txt")?;
    copy.seek(SeekFrom::End(-5))?;
    copy.write_all(b"END")?;
    copy.set_len(copy.metadata()?.len() + 10)?;
    copy.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes)?;
    println!("{} bytes in the copy", bytes.len());
    fs::remove_file("/out/copy.txt")?;
    fs::create_dir("/out/gone")?;
    fs::remove_dir("/out/gone")?;
    for (what, error) in [
        ("a missing file", fs::read("/in/missing").err()),
        ("a read-only file", fs::write("/in/input", "x").err()),
        ("a folder with files", fs::remove_dir("/out/by").err()),
        ("outside", fs::read_to_string("/etc/passwd").err()),
    ] {
        println!("{what}: {:?}", error.and_then(|error| error.raw_os_error()));
    }
    thread::sleep(Duration::from_secs(3600));
    assert!(begun.elapsed() >= Duration::from_secs(3600), "an hour has passed");
    println!("drawn {:x}", RandomState::new().build_hasher().finish());
    println!("now {:?}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"));
    Ok(())
}
