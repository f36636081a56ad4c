//! The encoder of all-MiniLM-L6-v2 (BERT's with six layers; Wang et al. 2020): tokens in, one vector of length 1 out.

use samebit::tensor::{Result, Safetensors, Tensor};

const LAYERS: usize = 6;
const HIDDEN: usize = 384;
const HEADS: usize = 12;
const EPSILON: f32 = 1e-12;

/// Numbers of a vector.
pub const WIDTH: usize = HIDDEN;
/// Most tokens of a text. The model has places for 512, and was trained as a sentence encoder on 256.
pub const TOKENS_MAX: usize = 256;

/// Weights and bias of a product.
#[derive(Debug)]
struct Linear {
    w: Tensor,
    b: Tensor,
}

impl Linear {
    fn new(weights: &Safetensors, name: &str) -> Result<Self> {
        Ok(Self { w: weights.tensor(&format!("{name}.weight"))?, b: weights.tensor(&format!("{name}.bias"))? })
    }

    fn of(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.w, Some(&self.b))
    }
}

/// Scale and bias of a normalisation.
#[derive(Debug)]
struct Norm(Linear);

impl Norm {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(&self.0.w, &self.0.b, EPSILON)
    }
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    wide: Linear,
    narrow: Linear,
    norm: Norm,
}

impl Layer {
    fn new(weights: &Safetensors, number: usize) -> Result<Self> {
        let linear = |name: &str| Linear::new(weights, &format!("encoder.layer.{number}.{name}"));
        Ok(Self {
            query: linear("attention.self.query")?,
            key: linear("attention.self.key")?,
            value: linear("attention.self.value")?,
            attended: linear("attention.output.dense")?,
            attended_norm: Norm(linear("attention.output.LayerNorm")?),
            wide: linear("intermediate.dense")?,
            narrow: linear("output.dense")?,
            norm: Norm(linear("output.LayerNorm")?),
        })
    }

    /// `x [tokens, hidden]` to the same.
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let tokens = x.dims()[0];
        // [heads, tokens, width of a head]
        let heads = |linear: &Linear| linear.of(x)?.reshape(&[tokens, HEADS, HIDDEN / HEADS])?.permute(&[1, 0, 2]);
        let width = HIDDEN / HEADS;
        let scale = 1.0 / (width as f32).sqrt();
        let seen = heads(&self.query)?.attention(&heads(&self.key)?, &heads(&self.value)?, None, scale)?;
        let seen = self.attended.of(&seen.permute(&[1, 0, 2])?.reshape(&[tokens, HIDDEN])?)?;
        let x = self.attended_norm.of(&seen.add(x)?)?;
        let wide = self.wide.of(&x)?.gelu()?;
        self.norm.of(&self.narrow.of(&wide)?.add(&x)?)
    }
}

/// The model's weights, as tensors of a mounted file: they cost the task a handle each.
#[derive(Debug)]
pub struct Encoder {
    words: Tensor,
    places: Tensor,
    kinds: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Encoder {
    /// Takes them from a file.
    ///
    /// # Errors
    /// When one is not there.
    pub fn new(weights: &Safetensors) -> Result<Self> {
        Ok(Self {
            words: weights.tensor("embeddings.word_embeddings.weight")?,
            places: weights.tensor("embeddings.position_embeddings.weight")?,
            kinds: weights.tensor("embeddings.token_type_embeddings.weight")?,
            norm: Norm(Linear::new(weights, "embeddings.LayerNorm")?),
            layers: (0..LAYERS).map(|number| Layer::new(weights, number)).collect::<Result<_>>()?,
        })
    }

    /// The vector of a text of these tokens: the mean over them, of length 1.
    ///
    /// # Errors
    /// When there are more than the model has places for.
    pub fn of(&self, tokens: &[i32]) -> Result<Tensor> {
        let ids = Tensor::new(tokens, &[tokens.len()])?;
        let words = self.words.gather(0, &ids)?;
        // Its kind is the first of two for every token of a single text; ascending as the model's authors add them.
        let x = words.add(&self.kinds.slice(0, 0..1)?)?.add(&self.places.slice(0, 0..tokens.len())?)?;
        let mut x = self.norm.of(&x)?;
        for layer in &self.layers {
            x = layer.of(&x)?;
        }
        let mean = x.mean(&[0])?;
        let length = mean.mul(&mean)?.sum(&[])?.sqrt()?;
        mean.div(&length)
    }
}
