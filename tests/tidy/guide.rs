//! The pages say what the code does: each error, each close and each key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use holdfast::wire::Reason;

use crate::source::{production_code, read, report};

#[test]
fn the_guide_for_clients_has_every_code_and_no_other() {
    let guide = read(Path::new("docs/clients.md"));
    let (_, tables) = guide.split_once("## Errors in replies").unwrap();
    let cells = tables.lines().filter_map(|line| line.strip_prefix("| "));
    let told: BTreeSet<u32> = cells
        .filter_map(|line| line.split(" |").next())
        .flat_map(|cell| cell.split(", "))
        .filter_map(|code| code.parse().ok())
        .collect();
    let used: BTreeSet<u32> = ["close", "failure", "api/refusal"]
        .into_iter()
        .flat_map(|file| {
            codes(&production_code(Path::new(&format!(
                "crates/wire/src/{file}.rs"
            ))))
        })
        .collect();
    assert_eq!(told, used);
}

/// Every reason that there is; the test below counts them.
const REASONS: [Reason; 21] = [
    Reason::RoomNotFound,
    Reason::RoomFull,
    Reason::RoomClosed,
    Reason::SeatTaken,
    Reason::SeatNotFound,
    Reason::AlreadySeated,
    Reason::NotSeated,
    Reason::InvalidUserReference,
    Reason::InsufficientCredits,
    Reason::KeyReused,
    Reason::UnknownKind,
    Reason::UserNotFound,
    Reason::TooManySeats,
    Reason::BadRequest,
    Reason::TokenInvalid,
    Reason::TokenExpired,
    Reason::SessionEnded,
    Reason::PermissionDenied,
    Reason::RateLimited,
    Reason::Unavailable,
    Reason::Internal,
];

#[test]
fn the_guide_for_clients_names_each_error_with_its_code_and_status() {
    let rows = rows_of_guide("## Errors in replies", "## Closes");
    let names = words(
        &production_code(Path::new("crates/wire/src/api/refusal.rs")),
        "fn name",
    );
    assert_eq!(names.len(), REASONS.len(), "{names:?}");
    for reason in REASONS {
        let name = format!("`{}`", reason.name());
        let row = rows.iter().find(|row| row[1].contains(&name));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        // On the socket it is a close.
        let is_close = matches!(reason, Reason::TokenInvalid | Reason::SessionEnded);
        let code = reason.code().to_string();
        assert_eq!(row[0], if is_close { "" } else { &code }, "{name}");
        let status = reason.status().to_string();
        assert!(row[2].split(", ").any(|told| told == status), "{name}");
    }
    let code = production_code(Path::new("crates/wire/src/failure.rs"));
    let numbers = words(&code, "fn number");
    for (variant, message) in words(&code, "fn message") {
        let row = rows.iter().find(|row| row[0] == numbers[&variant]);
        let message = format!("`{message}`");
        assert!(
            row.is_some_and(|row| row[1].contains(&message)),
            "{message}"
        );
    }
}

#[test]
fn the_guide_for_clients_tells_each_close_in_its_words_and_whether_to_come_back() {
    let rows = rows_of_guide("## Closes", "## holdfast.js");
    let code = production_code(Path::new("crates/wire/src/close.rs"));
    let reasons = words(&code, "fn reason");
    for (variant, number) in words(&code, "fn code") {
        // The game's server chooses its own.
        let Ok(number) = number.parse::<u16>() else {
            continue;
        };
        let row = rows.iter().find(|row| row[0] == number.to_string());
        let row = row.unwrap_or_else(|| panic!("no row for {number}"));
        let reason = &reasons[&variant];
        assert!(row[1].starts_with(reason), "{number} is `{reason}`");
        let is_terminal = (3500..4000).contains(&number) || (4500..5000).contains(&number);
        let does_come_back = row[2].contains("come back");
        // The SDKs differ about this one.
        assert!(number == 1009 || does_come_back != is_terminal, "{number}");
    }
    let guide = read(Path::new("docs/clients.md"));
    let members = production_code(Path::new("src/room/rules/members.rs"));
    let unsubscribes = members
        .lines()
        .filter_map(|line| line.strip_prefix("const UNSUBSCRIBE_"));
    let unsubscribes: Vec<_> = unsubscribes
        .filter_map(|line| line.rsplit_once(" = ")?.1.strip_suffix(';'))
        .collect();
    assert_eq!(unsubscribes.len(), 3);
    for code in unsubscribes {
        assert!(guide.contains(&format!("{code}: ")), "{code}");
    }
}

/// The cells of the table rows between two headings.
fn rows_of_guide(from: &str, to: &str) -> Vec<Vec<String>> {
    let guide = read(Path::new("docs/clients.md"));
    let (_, rest) = guide.split_once(from).unwrap();
    let (part, _) = rest.split_once(to).unwrap();
    let lines = part.lines().filter_map(|line| line.strip_prefix('|'));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.map(cells).collect()
}

/// What the arms of a function's `match` say of each variant: `Close::Slow => "slow",`.
fn words(code: &str, function: &str) -> BTreeMap<String, String> {
    let (_, rest) = code.split_once(function).unwrap();
    let (body, _) = rest.split_once("\n    }\n").unwrap();
    let arms = body.lines().filter_map(|line| line.split_once(" => "));
    arms.filter_map(|(variant, word)| {
        // Of variants that share an arm the first stands for all.
        let (_, variant) = variant.split(" | ").next()?.split_once("::")?;
        let word = word.trim_end_matches(',').trim_matches('"');
        Some((variant.to_owned(), word.to_owned()))
    })
    .collect()
}

/// The numbers that an enum's variants stand for: `Close::Slow => 3008,`.
fn codes(code: &str) -> Vec<u32> {
    let arms = code.lines().filter_map(|line| line.split_once("=> "));
    arms.filter_map(|(_, number)| number.strip_suffix(','))
        // The statuses of HTTP are in the same file.
        .filter_map(|number| number.parse().ok())
        .filter(|number| !(400..600).contains(number))
        .collect()
}

#[test]
fn each_configuration_key_is_explained() {
    let path = Path::new("config/holdfast.toml");
    if !path.exists() {
        return;
    }
    let mut faults = Vec::new();
    let mut is_explained = false;
    for (index, line) in read(path).lines().enumerate() {
        let line = line.trim();
        if line.starts_with('#') {
            is_explained = true;
        } else if line.is_empty() || line.starts_with('[') {
            is_explained = false;
        } else if let Some((key, value)) = line.split_once(" = ") {
            if !is_explained && !value.contains('#') {
                faults.push(format!(
                    "config/holdfast.toml:{}: `{key}` has no comment",
                    index + 1
                ));
            }
            is_explained = false;
        }
    }
    report(&faults);
}
