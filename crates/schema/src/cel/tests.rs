//! Expressions and rules, with what upstream says of them.

use serde_json::json;

use super::*;
use crate::structural::Structural;

fn run(source: &str) -> Result<serde_json::Value, String> {
    let document = json!({"a": 1, "s": "text", "list": [1, 2, 3], "map": {"x": "y", "n": null}, "my-name": 7});
    let program = Program::compile(source, &[("self", Declared::Any)])?;
    let value = program.run(&[("self", Value::of(&document, None))], &mut Budget::default());
    let value = value.map_err(|halt| halt.to_string())?;
    Ok(value.to_json().unwrap_or_else(|| json!(value.type_name())))
}

#[test]
fn expressions_come_to_what_upstream_says() {
    for (source, expected) in [
        ("self.a + 2 * 3 == 7 && !(self.s == 'x')", json!(true)),
        ("self.list.all(i, i > 0) && self.list.exists(i, i == 2) && self.list.exists_one(i, i == 3)", json!(true)),
        ("self.list.map(i, i * 2)", json!([2, 4, 6])),
        ("self.list.filter(i, i > 1).map(i, i > 2, i)", json!([3])),
        ("self.map.map(k, k)", json!(["x"])),
        ("has(self.map.n) || has(self.none)", json!(false)),
        ("self.?none.orValue('z') + self.map[?'x'].orValue('')", json!("zy")),
        ("self.a > 0 ? 'yes' : 'no'", json!("yes")),
        ("size(self.s) == 4 && 'ex' in ['ex'] && 'x' in self.map", json!(true)),
        ("'%s has %d'.format(['a', 2])", json!("a has 2")),
        ("quantity('1Gi').isGreaterThan(quantity('500Mi')) && isQuantity('x') == false", json!(true)),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && ip('::1').family() == 6", json!(true)),
        ("url('https://a.b:8080/c?d=e').getHost()", json!("a.b:8080")),
        ("sets.contains([1, 2, 3], [2]) && [1, 2].isSorted() && [3, 1].min() == 1", json!(true)),
        ("'a-b-c'.split('-').join('+')", json!("a+b+c")),
        ("'abc123'.find('[0-9]+') + 'x'.upperAscii()", json!("123X")),
        ("format.dns1123Label().validate('a_b').hasValue()", json!(true)),
        ("duration('90m') > duration('1h') && timestamp('2026-01-02T00:00:00Z').getDate() == 2", json!(true)),
        ("type(1) == int && string(1) == '1' && int('2') == 2", json!(true)),
        ("self.my__dash__name", json!(7)),
        ("{'a': 1, ?'b': self.?none}", json!({"a": 1})),
        ("self.list.all(i, v, i < v)", json!(true)),
        ("cel.bind(x, self.a + 1, x * x)", json!(4)),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", json!(true)),
        ("false && self.none == 1 || true", json!(true)),
        ("-3 + 1 == -2 && 7 % 4 == 3 && 7.0 / 2.0 == 3.5", json!(true)),
        ("r'\\d' + \"\\n\\x41\"", json!("\\d\nA")),
    ] {
        assert_eq!(run(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_cannot_be_is_told() {
    for (source, expected) in [
        ("self.none", "no such key: none"),
        ("self.list[7]", "index out of bounds: 7"),
        ("1 / (self.a - 1)", "division by zero"),
        ("self.a + self.s", "no such overload"),
        ("foo == 1", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo == 1\n | ^"),
        (
            "1 + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
    ] {
        assert_eq!(run(source), Err(expected.to_owned()), "{source}");
    }
    assert!(
        run("self.a ==")
            .is_err_and(|why| why.starts_with("ERROR: <input>:1:10: Syntax error: mismatched input '<EOF>'"))
    );
    assert!(run(&"(".repeat(1000)).is_err_and(|why| why.contains("recursion limit exceeded")));
}

#[test]
fn nothing_outlives_its_budget() {
    let items: Vec<i64> = (0..2000).collect();
    let document = json!(items);
    let source = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
    let program = Program::compile(source, &[("self", Declared::Any)]).expect("it compiles");
    let result = program.run(&[("self", Value::of(&document, None))], &mut Budget::default());
    assert!(matches!(result, Err(Halt::Call)), "{result:?}");
}

#[test]
fn rules_judge_objects() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min above max"},
            {"rule": "self.min == oldSelf.min", "messageExpression": "'min was ' + string(oldSelf.min)", "fieldPath": ".min"}],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self < 10", "reason": "FieldValueForbidden"}]}}}}}));
    let rules = Rules::compile(&schema).expect("there are rules");
    let check = |object: serde_json::Value, old: Option<serde_json::Value>, expected: &[&str]| {
        let errors = rules.validate(&schema, &object, old.as_ref());
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{object}");
    };
    let spec = |min: i64, max: i64| json!({"spec": {"min": min, "max": max}});
    check(spec(1, 2), None, &[]);
    check(spec(3, 2), None, &["spec: Invalid value: min above max"]);
    check(spec(1, 12), None, &["spec.max: Forbidden: failed rule: self < 10"]);
    check(spec(2, 3), Some(spec(1, 3)), &["spec.min: Invalid value: min was 1"]);
    check(spec(3, 2), Some(spec(3, 2)), &[]);
}

#[test]
fn rules_are_checked_before_they_run() {
    let check = |rule: &str, expected: &str| {
        let schema = Structural::parse(&json!({"type": "object", "properties": {"a": {"type": "string"}},
            "x-kubernetes-validations": [{"rule": rule}]}));
        let errors = Rules::check(&schema, &meta::field::Path::new("s"));
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(";");
        assert!(if expected.is_empty() { text.is_empty() } else { text.contains(expected) }, "{rule}: {text}");
    };
    check("self.a == 'x' && self.metadata.name == 'y'", "");
    check("self.b == 'x'", "undefined field 'b'");
    check("self.a", "cel expression must evaluate to a bool");
    check("self.a == 1", "found no matching overload for '_==_' applied to '(string, int)'");
    check("self.a.", "compilation failed: ERROR: <input>:1:8: Syntax error");
}
