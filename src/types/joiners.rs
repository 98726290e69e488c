//! Where the two invisible joiners, U+200C ZERO WIDTH NON-JOINER and U+200D ZERO WIDTH JOINER,
//! change how the characters around them look.
//!
//! **Invariant:** a joiner that is reported as visible changes what is seen: without it the text
//! looks different. Contexts that are not listed here count as invisible.
//!
//! The rules are those of RFC 5892, appendix A.1 and A.2, narrowed to scripts in which they are in
//! use, and rule GB11 of Unicode Standard Annex 29 for emoji.

use unicode_segmentation::UnicodeSegmentation as _;

/// Keeps two joined letters apart, as in Persian.
pub(super) const NON_JOINER: char = '\u{200c}';
/// Joins two characters that would stand apart, as the members of a family in one emoji.
pub(super) const JOINER: char = '\u{200d}';

/// Characters that are looked at on each side of a joiner: a letter with a few marks.
const REACH_MAX: usize = 8;

/// Tells whether the joiner that begins at the byte `at` changes how its neighbours look.
pub(super) fn is_visible(text: &str, at: usize) -> bool {
    let (before, rest) = text.split_at(at);
    let mut rest = rest.chars();
    let joiner = rest.next();
    let after = rest.as_str();
    match joiner {
        Some(NON_JOINER) => parts_cursive(before, after) || shows_virama(before, after),
        Some(JOINER) => shapes_virama(before, after) || joins_emoji(before, after),
        _ => false,
    }
}

/// A non-joiner parts two letters that would be written in one stroke.
fn parts_cursive(before: &str, after: &str) -> bool {
    let letter = |chars: &mut dyn Iterator<Item = char>| {
        chars.take(REACH_MAX).find(|character| !is_arabic_mark(*character)).and_then(join_of)
    };
    letter(&mut before.chars().rev()) == Some(Join::Both) && letter(&mut after.chars()).is_some()
}

/// A non-joiner behind a virama shows the virama, where a conjunct would stand.
fn shows_virama(before: &str, after: &str) -> bool {
    let virama = letter_and_virama(before);
    virama
        .is_some_and(|virama| after.chars().next().is_some_and(|next| is_same_block(virama, next)))
}

/// A joiner behind a virama makes a half form; one before a virama keeps the letter whole.
fn shapes_virama(before: &str, after: &str) -> bool {
    letter_and_virama(before).is_some() || keeps_whole(before, after).unwrap_or(false)
}

fn keeps_whole(before: &str, after: &str) -> Option<bool> {
    let mut after = after.chars();
    let (letter, virama, next) = (before.chars().next_back()?, after.next()?, after.next()?);
    let is_one_script = is_same_block(letter, virama) && is_same_block(virama, next);
    Some(is_virama(virama) && !is_virama(letter) && is_one_script)
}

/// The virama at the end, if a letter of its script stands before it.
fn letter_and_virama(before: &str) -> Option<char> {
    let mut before = before.chars().rev();
    let (virama, letter) = (before.next()?, before.next()?);
    let fits = is_virama(virama) && !is_virama(letter) && is_same_block(virama, letter);
    fits.then_some(virama)
}

/// A joiner makes one emoji of two.
fn joins_emoji(before: &str, after: &str) -> bool {
    // The form as an emoji, and the tones of skin.
    let is_modifier = |c| matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
    let base = before.trim_end_matches(is_modifier).chars().next_back();
    let (Some(base), Some(next)) = (base, after.chars().next()) else { return false };
    let is_one = |text: String| text.graphemes(true).count() == 1;
    // A mark attaches to any letter; Indic letters have rules of their own above.
    let attaches = is_virama(base) || is_one(format!("a{next}"));
    !attaches && is_one(format!("{base}{JOINER}{next}"))
}

/// How a letter of a cursive script joins its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// The one before it.
    Before,
    /// Both.
    Both,
}

/// How a letter joins, for the Arabic script with its extensions for Persian, Urdu, Pashto,
/// Kurdish, Uyghur and others (Unicode's ArabicShaping.txt).
fn join_of(letter: char) -> Option<Join> {
    match letter {
        '\u{622}'..='\u{625}'
        | '\u{627}'
        | '\u{629}'
        | '\u{62f}'..='\u{632}'
        | '\u{648}'
        | '\u{671}'..='\u{673}'
        | '\u{675}'..='\u{677}'
        | '\u{688}'..='\u{699}'
        | '\u{6c0}'
        | '\u{6c3}'..='\u{6cb}'
        | '\u{6cd}'
        | '\u{6cf}'
        | '\u{6d2}'
        | '\u{6d3}'
        | '\u{6d5}'
        | '\u{6ee}'
        | '\u{6ef}'
        | '\u{759}'..='\u{75b}'
        | '\u{76b}'
        | '\u{76c}'
        | '\u{771}'
        | '\u{773}'
        | '\u{774}'
        | '\u{778}'
        | '\u{779}' => Some(Join::Before),
        '\u{620}'
        | '\u{626}'
        | '\u{628}'
        | '\u{62a}'..='\u{62e}'
        | '\u{633}'..='\u{63f}'
        | '\u{641}'..='\u{647}'
        | '\u{649}'
        | '\u{64a}'
        | '\u{66e}'
        | '\u{66f}'
        | '\u{678}'..='\u{687}'
        | '\u{69a}'..='\u{6bf}'
        | '\u{6c1}'
        | '\u{6c2}'
        | '\u{6cc}'
        | '\u{6ce}'
        | '\u{6d0}'
        | '\u{6d1}'
        | '\u{6fa}'..='\u{6fc}'
        | '\u{6ff}'
        | '\u{750}'..='\u{758}'
        | '\u{75c}'..='\u{76a}'
        | '\u{76d}'..='\u{770}'
        | '\u{772}'
        | '\u{775}'..='\u{777}'
        | '\u{77a}'..='\u{77f}' => Some(Join::Both),
        _ => None,
    }
}

/// Tells a vowel sign or another mark on an Arabic letter.
fn is_arabic_mark(character: char) -> bool {
    matches!(character,
        '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}'
        | '\u{6df}'..='\u{6e4}' | '\u{6e7}' | '\u{6e8}' | '\u{6ea}'..='\u{6ed}')
}

/// Tells the sign that takes a letter's vowel away, in the scripts of South Asia: Devanagari,
/// Bengali, Gurmukhi, Gujarati, Oriya, Tamil, Telugu, Kannada, Malayalam, Sinhala.
fn is_virama(character: char) -> bool {
    matches!(
        character,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
            | '\u{dca}'
    )
}

/// Tells whether two characters are of one of those scripts: each has a block of 128.
fn is_same_block(one: char, other: char) -> bool {
    u32::from(one) >> 7 == u32::from(other) >> 7
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The joiners of a text, each as `+` if it is visible and `-` if not.
    fn seen(text: &str) -> String {
        let is_joiner = |(_, c): &(usize, char)| [NON_JOINER, JOINER].contains(c);
        let sign = |(at, _)| if is_visible(text, at) { '+' } else { '-' };
        text.char_indices().filter(is_joiner).map(sign).collect()
    }

    #[test]
    fn joiners_are_seen_where_people_write_them() {
        for (text, what) in [
            ("می\u{200c}خواهم", "Persian: I want"),
            ("کتاب\u{200c}ها.pdf", "Persian: books"),
            ("بَ\u{200c}بَ", "Arabic with vowel signs"),
            ("क्\u{200d}ष", "Devanagari half form"),
            ("क्\u{200c}ष", "Devanagari with its virama shown"),
            ("\u{9b0}\u{200d}\u{9cd}\u{9af}াম", "Bengali: RAM"),
            ("ശ്രീ അവന്\u{200d}.txt", "Malayalam chillu as it was written once"),
            ("ශ්\u{200d}රී ලංකා", "Sinhala: Sri Lanka"),
            ("\u{1f469}\u{200d}\u{1f4bb}", "a woman with a computer"),
            ("\u{1f469}\u{1f3fd}\u{200d}\u{1f4bb}", "with a tone of skin"),
            ("\u{2764}\u{fe0f}\u{200d}\u{1f525}", "a heart on fire"),
        ] {
            assert_eq!(seen(text), "+", "{what}: {text}");
        }
        assert_eq!(seen("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}"), "+++");
    }

    #[test]
    fn joiners_that_nobody_sees_are_told() {
        for text in [
            "pass\u{200d}word",
            "pass\u{200c}word",
            "\u{200d}\u{1f469}",
            "\u{1f469}\u{200d}",
            "\u{1f469}\u{200d}a",
            "a\u{200d}\u{1f469}",
            "\u{1f469}\u{200c}\u{1f4bb}",
            "ا\u{200c}ب",
            "می\u{200d}خواهم",
            "می\u{200c}.pdf",
            "م\u{200c}a",
            "\u{94d}\u{200d}ष",
            "a\u{94d}\u{200d}b",
            "क\u{200d}ष",
            "क\u{200c}ष",
            "क्\u{200c}",
            "\u{9b0}\u{200d}\u{9cd}",
            "漢\u{200d}字",
            "e\u{301}\u{200d}\u{301}",
        ] {
            assert_eq!(seen(text), "-", "{}", text.escape_unicode());
        }
        assert_eq!(seen("क्\u{200d}\u{200d}ष"), "+-");
        assert_eq!(seen("می\u{200c}\u{200c}خواهم"), "--");
        assert_eq!(seen("\u{1f469}\u{200d}\u{200d}\u{1f4bb}"), "--");
    }
}
