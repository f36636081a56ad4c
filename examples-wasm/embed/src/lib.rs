//! Finds the passages of a folder of texts that mean most nearly what is asked: sentence embeddings by
//! all-MiniLM-L6-v2, cosine search.
//!
//! Every host gives the same vectors to the bit, whether it computes on a processor or on a graphics adapter.
#![forbid(unsafe_code)]

pub mod encoder;
pub mod wordpiece;

use encoder::{Encoder, TOKENS_MAX, WIDTH};
use samebit::{
    Step, Steps, input_dir, output_dir,
    serde::{Deserialize, Serialize},
    tensor::{Safetensors, Tensor},
};
use std::{fs, path::PathBuf};
use wordpiece::Vocabulary;

/// Tokens that are embedded in a step, at least: about a second's work.
const TOKENS_PER_STEP: usize = 1024;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(crate = "samebit::serde")]
pub struct Ask {
    /// Questions or sentences.
    pub queries: Vec<String>,
    /// How many passages are wanted for each.
    #[serde(default = "three")]
    pub top: usize,
}

fn three() -> usize {
    3
}

/// A passage that was found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "samebit::serde")]
pub struct Hit {
    /// The text's path below `texts`.
    pub file: String,
    /// Which of its passages, from 0.
    pub passage: usize,
    /// Cosine of the angle between the two vectors, as the bits of a binary32 number have it.
    pub score: f32,
    /// Its first words.
    pub begins: String,
}

/// What was found for a query, best first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "samebit::serde")]
pub struct Found {
    /// The query.
    pub query: String,
    /// The passages.
    pub hits: Vec<Hit>,
}

struct Passage {
    file: String,
    number: usize,
    text: String,
}

/// Searches `/in/texts` with the model in `/in/model`.
#[samebit::task]
pub struct Search {
    ask: Ask,
    vocabulary: Vocabulary,
    encoder: Encoder,
    /// Of the queries, `[queries, width]`.
    queries: Tensor,
    passages: Vec<Passage>,
    /// Vectors of those that were embedded, in order.
    vectors: Vec<f32>,
    done: usize,
}

impl Steps for Search {
    type Input = Ask;
    type Output = Vec<Found>;
    type Error = String;

    fn start(ask: Ask) -> Result<Self, String> {
        let model = input_dir().join("model");
        let vocabulary = read(&model.join("vocab.txt"))?;
        let vocabulary = Vocabulary::new(&vocabulary).map_err(|missing| missing.to_string())?;
        let weights = Safetensors::open(model.join("model.safetensors")).map_err(text)?;
        let encoder = Encoder::new(&weights).map_err(text)?;
        if ask.queries.is_empty() {
            return Err("nothing is asked: `queries` is empty".to_string());
        }
        let vectors = ask.queries.iter().map(|query| {
            let vector = encoder.of(&vocabulary.encode(query, TOKENS_MAX))?;
            vector.reshape(&[1, WIDTH])
        });
        let vectors = vectors.collect::<Result<Vec<_>, _>>().map_err(text)?;
        let queries = join(&vectors).map_err(text)?;
        queries.eval().map_err(text)?;
        let passages = passages()?;
        Ok(Self { ask, vocabulary, encoder, queries, passages, vectors: Vec::new(), done: 0 })
    }

    fn step(&mut self) -> Result<Step, String> {
        let mut tokens = 0;
        let mut made = Vec::new();
        while let Some(passage) = self.passages.get(self.done)
            && tokens < TOKENS_PER_STEP
        {
            let ids = self.vocabulary.encode(&passage.text, TOKENS_MAX);
            tokens += ids.len();
            made.push(self.encoder.of(&ids).map_err(text)?);
            self.done += 1;
        }
        if !made.is_empty() {
            samebit::tensor::eval(&made.iter().collect::<Vec<_>>()).map_err(text)?;
        }
        for vector in &made {
            self.vectors.extend(vector.to_vec::<f32>().map_err(text)?);
        }
        Ok(if self.done == self.passages.len() { Step::Done } else { Step::More })
    }

    fn finish(self) -> Result<Vec<Found>, String> {
        let bytes: Vec<u8> = self.vectors.iter().flat_map(|number| number.to_le_bytes()).collect();
        let path = output_dir().join("vectors.f32");
        fs::write(&path, bytes).map_err(|error| format!("writing {}: {error}", path.display()))?;
        let count = self.passages.len();
        let most = self.ask.top.min(count);
        let mut found: Vec<Found> =
            self.ask.queries.iter().map(|query| Found { query: query.clone(), hits: Vec::new() }).collect();
        if most > 0 {
            let vectors = Tensor::new(&self.vectors, &[count, WIDTH]).map_err(text)?;
            let scores = self.queries.matmul(&vectors.transpose(0, 1).map_err(text)?).map_err(text)?;
            let wanted = u32::try_from(most).map_err(text)?;
            let (scores, at) = scores.topk(wanted, 1).map_err(text)?;
            let (scores, at) = (scores.to_vec::<f32>().map_err(text)?, at.to_vec::<i32>().map_err(text)?);
            let best = scores.iter().zip(at);
            for (found, best) in found.iter_mut().zip(best.collect::<Vec<_>>().chunks(most)) {
                for &(score, at) in best {
                    let passage = usize::try_from(at).ok().and_then(|at| self.passages.get(at));
                    let passage = passage.ok_or("an index that no passage has")?;
                    let begins = passage.text.chars().take(60).collect();
                    found.hits.push(Hit { file: passage.file.clone(), passage: passage.number, score: *score, begins });
                }
            }
        }
        Ok(found)
    }
}

/// Vectors under one another, more than one operation may join as well.
fn join(vectors: &[Tensor]) -> samebit::tensor::Result<Tensor> {
    let mut level: Vec<Tensor> = vectors.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(64)
            .map(|some| Tensor::concat(&some.iter().collect::<Vec<_>>(), 0))
            .collect::<samebit::tensor::Result<_>>()?;
    }
    level.pop().map_or_else(|| Tensor::zeros(&[0, WIDTH]), Ok)
}

/// The texts' passages: what empty lines part, in order of the paths.
fn passages() -> Result<Vec<Passage>, String> {
    let root = input_dir().join("texts");
    let mut folders = vec![root.clone()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        let failed = |error| format!("reading {}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut passages = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let content = read(&path)?;
        let parts = content.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
        passages.extend(parts.enumerate().map(|(number, part)| Passage {
            file: file.clone(),
            number,
            text: part.to_string(),
        }));
    }
    Ok(passages)
}

fn read(path: &std::path::Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
