//! Packs a vocabulary as the pairs of tokens that its tokens are merged from.
//!
//! Form: the id of the left half of each token, then that of the right half, each as three planes of bytes (low, middle,
//! high), which compress best. A token of one byte has no halves: its left is `0xFF_FFFF` and its right the byte. So has
//! an id that stands for nothing: its left is `0xFF_FFFF` and its right as well.

use std::{collections::HashMap, error::Error};

use tiktoken_rs::CoreBPE;

const NONE: u32 = 0xFF_FFFF;

/// A file's name and what is in it.
pub(crate) type Packed = (&'static str, Vec<u8>);

/// Every vocabulary by the name of its file. `r50k` is no more than the first tokens of `p50k`; this is checked here.
pub(crate) fn all() -> Result<[Packed; 3], Box<dyn Error>> {
    let p50k = tokens(&tiktoken_rs::p50k_base()?, 50_281, Some(50_256))?;
    let r50k = tokens(&tiktoken_rs::r50k_base()?, 50_256, None)?;
    if !p50k.starts_with(&r50k) {
        return Err("r50k_base is no longer the beginning of p50k_base".into());
    }
    Ok([
        ("o200k.vocabulary", pack(&tokens(&tiktoken_rs::o200k_base()?, 199_998, None)?)?),
        ("cl100k.vocabulary", pack(&tokens(&tiktoken_rs::cl100k_base()?, 100_256, None)?)?),
        ("p50k.vocabulary", pack(&p50k)?),
    ])
}

/// The bytes of each token by its id; empty for the id that is a special token's.
fn tokens(source: &CoreBPE, count: u32, special: Option<u32>) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let bytes = |id| if Some(id) == special { Ok(Vec::new()) } else { source.decode_bytes(&[id]) };
    Ok((0..count).map(bytes).collect::<Result<_, _>>()?)
}

fn pack(tokens: &[Vec<u8>]) -> Result<Vec<u8>, Box<dyn Error>> {
    let ids: HashMap<&[u8], u32> =
        tokens.iter().map(Vec::as_slice).zip(0..).filter(|(token, _)| !token.is_empty()).collect();
    let mut halves = Vec::with_capacity(tokens.len());
    for (token, id) in tokens.iter().zip(0..) {
        halves.push(match token.as_slice() {
            [] => (NONE, NONE),
            [byte] => (NONE, u32::from(*byte)),
            _ => {
                let (left, right) =
                    split(token, &ids).ok_or_else(|| format!("token {id} is no merge of two others"))?;
                if left >= id || right >= id {
                    return Err(format!("token {id} comes before the tokens it is merged from").into());
                }
                (left, right)
            }
        });
    }
    let plane = |shift: u32, half: fn(&(u32, u32)) -> u32| halves.iter().map(move |pair| (half(pair) >> shift) as u8);
    let shifts = [0, 8, 16];
    let left = shifts.into_iter().flat_map(|shift| plane(shift, |pair| pair.0));
    let right = shifts.into_iter().flat_map(|shift| plane(shift, |pair| pair.1));
    Ok(left.chain(right).collect())
}

/// The last two parts that byte-pair merging of `token` goes through before it has the token itself.
fn split(token: &[u8], ids: &HashMap<&[u8], u32>) -> Option<(u32, u32)> {
    let id = |from: usize, to: usize| ids.get(token.get(from..to)?).copied();
    let mut borders: Vec<usize> = (0..=token.len()).collect();
    while borders.len() > 3 {
        let pairs = borders.windows(3).enumerate();
        let ranked = pairs.filter_map(|(at, border)| Some((id(*border.first()?, *border.last()?)?, at)));
        let (_, at) = ranked.min()?;
        borders.remove(at + 1);
    }
    let middle = *borders.get(1)?;
    Some((id(0, middle)?, id(middle, token.len())?))
}
