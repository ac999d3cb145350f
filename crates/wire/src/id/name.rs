//! Names that other players see. Characters that could disguise one name as another are refused.

use std::sync::Arc;

use super::{IdError, NAME_CHARS_MAX};

/// Joins two letters or emoji into one shape.
const ZERO_WIDTH_JOINER: char = '\u{200D}';

/// Separates two letters of a cursive script.
const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';

/// The black flag before the tags of a flag such as Scotland's.
const FLAG: char = '\u{1F3F4}';

/// Invisible characters: format controls (Unicode Cf), some of which change the direction of text; line and paragraph
/// separators; and blank letters. The joiners and tags among them belong to some scripts and emoji, see
/// [`is_in_place`].
const UNSEEN: &[(char, char)] = &[
    ('\u{AD}', '\u{AD}'),
    ('\u{34F}', '\u{34F}'),
    ('\u{600}', '\u{605}'),
    ('\u{61C}', '\u{61C}'),
    ('\u{6DD}', '\u{6DD}'),
    ('\u{70F}', '\u{70F}'),
    ('\u{890}', '\u{891}'),
    ('\u{8E2}', '\u{8E2}'),
    ('\u{115F}', '\u{1160}'),
    ('\u{17B4}', '\u{17B5}'),
    ('\u{180E}', '\u{180E}'),
    ('\u{200B}', '\u{200F}'),
    ('\u{2028}', '\u{202E}'),
    ('\u{2060}', '\u{206F}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{FEFF}', '\u{FEFF}'),
    ('\u{FFA0}', '\u{FFA0}'),
    ('\u{FFF9}', '\u{FFFB}'),
    ('\u{110BD}', '\u{110BD}'),
    ('\u{110CD}', '\u{110CD}'),
    ('\u{13430}', '\u{1343F}'),
    ('\u{1BCA0}', '\u{1BCA3}'),
    ('\u{1D173}', '\u{1D17A}'),
    ('\u{E0000}', '\u{E007F}'),
];

/// Scripts that need joiners in their words: Arabic (with Persian and Urdu), Syriac, the scripts of India and of
/// South-East Asia, Mongolian.
const JOINED_SCRIPTS: &[(char, char)] = &[
    ('\u{600}', '\u{8FF}'),
    ('\u{900}', '\u{109F}'),
    ('\u{1780}', '\u{18AF}'),
    ('\u{1950}', '\u{1CFF}'),
    ('\u{A840}', '\u{ABFF}'),
    ('\u{FB50}', '\u{FDFF}'),
    ('\u{FE70}', '\u{FEFC}'),
    ('\u{11000}', '\u{11FFF}'),
];

/// Emoji, with their presentation selector. A family or a woman pilot is several of them, joined.
const EMOJI: &[(char, char)] = &[
    ('\u{2190}', '\u{2BFF}'),
    ('\u{FE0F}', '\u{FE0F}'),
    ('\u{1F000}', '\u{1FAFF}'),
];

/// Checks a name that other players will see, without surrounding white space.
pub fn parse_name(text: &str) -> Result<Arc<str>, IdError> {
    let name = text.trim();
    let chars = name.chars().count();
    if chars == 0 {
        return Err(IdError::NameEmpty);
    }
    if chars > NAME_CHARS_MAX {
        return Err(IdError::NameLong { chars });
    }
    if name.chars().any(char::is_control) {
        return Err(IdError::NameControl);
    }
    let letters: Vec<char> = name.chars().collect();
    let unseen =
        (0..letters.len()).find(|at| is_in(letters[*at], UNSEEN) && !is_in_place(&letters, *at));
    match unseen {
        Some(at) => Err(IdError::NameUnseen {
            code: u32::from(letters[at]),
        }),
        None => Ok(name.into()),
    }
}

/// Returns true if an invisible character is in its place: it joins or separates characters that need it. Between
/// others, it would only make one name look like another.
fn is_in_place(letters: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| letters[before]);
    let (Some(before), after) = (before, letters.get(at + 1).copied()) else {
        return false;
    };
    let are_both =
        |ranges| is_in(before, ranges) && after.is_some_and(|after| is_in(after, ranges));
    let is_between_letters = are_both(JOINED_SCRIPTS)
        && !is_in(before, UNSEEN)
        && !after.is_some_and(|after| is_in(after, UNSEEN));
    match letters[at] {
        ZERO_WIDTH_NON_JOINER => is_between_letters,
        ZERO_WIDTH_JOINER => is_between_letters || are_both(EMOJI),
        '\u{E0020}'..='\u{E007F}' => {
            let tagged = letters[..at].iter().rev();
            let mut tagged =
                tagged.skip_while(|letter| matches!(letter, '\u{E0020}'..='\u{E007E}'));
            tagged.next() == Some(&FLAG)
        }
        _ => false,
    }
}

fn is_in(letter: char, ranges: &[(char, char)]) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        assert_eq!(parse_name("  Ana ").as_deref(), Ok("Ana"));
        assert_eq!(parse_name(" "), Err(IdError::NameEmpty));
        assert_eq!(
            parse_name(&"x".repeat(65)),
            Err(IdError::NameLong { chars: 65 })
        );
        assert_eq!(parse_name("a\nb"), Err(IdError::NameControl));
    }

    #[test]
    fn what_nobody_sees_is_no_part_of_a_name() {
        for name in [
            "Ana\u{202E}nimdA",
            "A\u{200B}na",
            "\u{2066}Ana",
            "An\u{AD}a",
            "Ana\u{FEFF}",
            "Ana\u{200D}",
            "\u{200C}Ana",
            "A\u{200D}na",
            "An\u{200C}a",
            "А\u{200D}на",
            "Ana\u{2028}Ben",
            "\u{3164}",
            "Ana\u{E0041}",
            "\u{1F3F4}x\u{E0067}",
            "\u{646}\u{200C}\u{200C}\u{645}",
            "\u{1F468}\u{200D}Ana",
        ] {
            let refused = parse_name(name);
            assert!(
                matches!(refused, Err(IdError::NameUnseen { .. })),
                "{}: {refused:?}",
                name.escape_unicode()
            );
        }
    }

    #[test]
    fn names_of_all_scripts_and_emoji_are_written_as_they_are() {
        for name in [
            "José",
            "Μαρία",
            "Дмитро",
            "李小龍",
            "محمد",
            // Persian, with its non-joiner.
            "گل\u{200C}رخ",
            // Sinhala, with its joiner.
            "ශ\u{DCA}\u{200D}රී",
            // A family, a woman pilot, a heart on fire, a flag.
            "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
            "\u{1F469}\u{1F3FD}\u{200D}\u{2708}\u{FE0F}",
            "\u{2764}\u{FE0F}\u{200D}\u{1F525}",
            "\u{1F3F4}\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}",
        ] {
            assert_eq!(parse_name(name).as_deref(), Ok(name), "{name}");
        }
    }
}
