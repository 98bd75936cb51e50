//! Tables of the dialplan: patterns, includes, ranges, bounds.

use super::*;

const T: TenantId = TenantId(0);

fn hint(text: &str) -> Hint {
    Hint::parse(text, "f:1").unwrap()
}

fn template(text: &str) -> Template {
    Template::parse(text, &Globals::new(), "f:1").unwrap()
}

fn range(text: &str, hint: &str) -> HintRange {
    let (first, last) = split_range(text).unwrap();
    HintRange { first: first.into(), last: last.into(), template: template(hint) }
}

/// `office` includes `sales` and `common`; `sales` includes `common` and, in a circle, `office`.
fn dialplan() -> Dialplan {
    let mut plan = Dialplan::default();
    plan.add_hint(T, "office", "1000", hint("PJSIP/1000")).unwrap();
    plan.add_pattern(T, "office", "_1XXX", template("PJSIP/${EXTEN}")).unwrap();
    plan.add_pattern(T, "office", "_12XX", template("SIP/${EXTEN}")).unwrap();
    plan.add_range(T, "office", range("1000..=2999", "IAX2/{exten}")).unwrap();
    plan.add_include(T, "office", "sales").unwrap();
    plan.add_include(T, "office", "common").unwrap();
    plan.add_include(T, "sales", "common").unwrap();
    plan.add_include(T, "sales", "office").unwrap();
    plan.add_hint(T, "sales", "3000", hint("Custom:sales")).unwrap();
    plan.add_hint(T, "common", "3000", hint("Custom:common")).unwrap();
    plan.add_hint(T, "common", "4000", hint("Custom:four")).unwrap();
    plan.add_pattern(T, "common", "_5.", template("Custom:${CONTEXT}-${EXTEN:1}")).unwrap();
    plan.add_hint(TenantId(2), "office", "9000", hint("Custom:other-tenant")).unwrap();
    plan
}

#[test]
fn exact_goes_before_pattern_before_range_before_includes() {
    let plan = dialplan();
    for (context, exten, want) in [
        ("office", "1000", Some(("office", "PJSIP/1000", true))),
        ("office", "1001", Some(("office", "PJSIP/1001", false))),
        ("office", "1200", Some(("office", "SIP/1200", false))),
        ("office", "2000", Some(("office", "IAX2/2000", false))),
        ("office", "3000", Some(("sales", "Custom:sales", true))),
        ("office", "4000", Some(("common", "Custom:four", true))),
        ("office", "5abc", Some(("common", "Custom:common-abc", false))),
        ("office", "6000", None),
        ("sales", "1000", Some(("office", "PJSIP/1000", true))),
        ("common", "1000", None),
        ("nosuch", "1000", None),
        ("office", "9000", None),
        ("office", "", None),
    ] {
        let found = plan.find(T, context, exten);
        let got = found.as_ref().map(|f| (&*f.context, &*f.hint.text, f.explicit));
        assert_eq!(got, want, "{exten}@{context}");
        assert_eq!(found.map(|f| f.exten.to_string()), want.map(|_| exten.to_owned()));
    }
    assert!(plan.find(TenantId(2), "office", "9000").is_some());
    assert!(plan.find(TenantId(1), "office", "1000").is_none());
    assert!(plan.find(TenantId(3), "office", "1000").is_none());
}

#[test]
fn names_are_bounded_and_printable() {
    let mut plan = dialplan();
    let longest = "5".repeat(NAME_BYTES_MAX);
    assert!(plan.find(T, "office", &longest).is_some());
    for bad in [format!("5{longest}"), "5\r\nEvent: x".to_owned(), "5\0".to_owned()] {
        assert!(plan.find(T, "office", &bad).is_none(), "{bad:?}");
        for result in [
            plan.add_hint(T, "office", &bad, hint("Custom:x")),
            plan.add_hint(T, &bad, "1", hint("Custom:x")),
            plan.add_include(T, "office", &bad),
        ] {
            assert!(matches!(result, Err(DialplanError::Name(_))), "{bad:?}");
        }
    }
}

#[test]
fn the_first_of_two_equal_entries_stays_and_the_second_says_where_it_is() {
    let mut plan = dialplan();
    let error = plan.add_hint(T, "office", "1000", hint("Custom:new")).unwrap_err();
    assert_eq!(error.to_string(), "1000 already has a hint in this context (first at f:1)");
    let error = plan.add_pattern(T, "office", "_1X-XX", template("Custom:new")).unwrap_err();
    assert!(matches!(error, DialplanError::Duplicate(..)), "{error}");
    let error = plan.add_range(T, "office", range("1..=5000", "Custom:x")).unwrap_err();
    assert_eq!(error.to_string(), "overlaps with the range 1000..=2999 of the same context");
    assert_eq!(&*plan.find(T, "office", "1000").unwrap().hint.text, "PJSIP/1000");
}

#[test]
fn a_chain_of_includes_is_followed_to_its_bound() {
    let mut plan = Dialplan::default();
    for n in 0..300 {
        plan.add_include(T, &format!("c{n}"), &format!("c{}", n + 1)).unwrap();
        plan.add_hint(T, &format!("c{n}"), &format!("{n}"), hint("Custom:x")).unwrap();
    }
    assert!(plan.find(T, "c0", "128").is_some());
    assert!(plan.find(T, "c0", "129").is_none());
    assert!(plan.find(T, "c129", "129").is_some());
    for n in 1..INCLUDED_CONTEXT_COUNT_MAX {
        plan.add_include(T, "c0", &format!("d{n}")).unwrap();
    }
    assert_eq!(plan.add_include(T, "c0", "e"), Err(DialplanError::TooManyIncludes));
}

#[test]
fn listings_keep_the_order_of_the_configuration() {
    let mut plan = dialplan();
    plan.set_autohints(T, "common").unwrap();
    plan.add_include(T, "common", "elsewhere").unwrap();
    let contexts: Vec<_> = plan.contexts(T).map(|c| c.name().to_string()).collect();
    assert_eq!(contexts, ["office", "sales", "common"]);
    let hints: Vec<_> = plan.explicit_hints(T).map(|(c, e, _)| format!("{e}@{c}")).collect();
    assert_eq!(hints, ["1000@office", "3000@sales", "3000@common", "4000@common"]);
    let patterns: Vec<_> = plan.pattern_hints(T).map(|(c, p)| format!("{}@{c}", p.text)).collect();
    assert_eq!(patterns, ["_12XX@office", "_1XXX@office", "_5.@common"]);
    assert_eq!(plan.autohint_contexts(T).map(|c| &**c).collect::<Vec<_>>(), ["common"]);
    let dangling = plan.dangling_includes(T);
    assert_eq!(dangling, [(&Arc::from("common"), &Arc::from("elsewhere"))]);
    let office = plan.context(T, "office").unwrap();
    assert_eq!((office.hint_count(), office.patterns().len(), office.ranges().len()), (1, 2, 1));
    assert!(plan.context(T, "elsewhere").is_none());
    assert_eq!(plan.contexts(TenantId(9)).count(), 0);
}
