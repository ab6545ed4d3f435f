"""The eleven claims: the paper's sentence, and the test that decides it, written down before the runs were there.

An earlier generation of runs was known then: some settings, the split of C5 and C10 come from what it showed. The
protocol in the book's appendix says so.
"""

from __future__ import annotations

from nsr.study.claims import numbers
from nsr.study.claims.verdict import Claim, Row, Rules
from nsr.study.select import Runs

CLAIMS = (
    Claim(
        "C1",
        "AT is less robust against weight perturbations than Standard",
        "AT (model (c)) is only trained on input perturbation and is observed to be less robust under weight "
        "perturbation compared to the standard model (a).",
        "section 4.1",
        "Standard's mean accuracy along the edge eps_x = 0 is above AT's.",
        numbers.weaker_against_weights,
    ),
    Claim(
        "C2",
        "Weight Perturb is only slightly more robust against input perturbations than Standard",
        "the robustness of weight perturb model (b) to input perturbation is only slightly better than the standard "
        "model.",
        "section 4.1",
        "Weight Perturb's mean accuracy along the edge eps_w = 0 is above Standard's, and by less than {slight:.0%} of "
        "what AT gains over Standard.",
        numbers.slightly_better,
    ),
    Claim(
        "C3",
        "Standard is vulnerable to both",
        "The standard model (a) is vulnerable to both weight and input perturbations.",
        "section 4.1",
        "In the middle of each edge Standard keeps less than {kept:.0%} of its clean accuracy, and the model that is "
        "trained for an edge keeps more along it: AT for inputs, Weight Perturb for weights.",
        numbers.vulnerable_to_both,
    ),
    Claim(
        "C4",
        "each of (d), (e), (f) has a better joint AUC than each of (a), (b), (c)",
        "Non-singular robust models using our proposed regularization function, including (d), (e) and (f), show "
        "significantly better AUC scores.",
        "figure 1",
        "All nine differences of joint AUC are above zero: each of the two AT+beta and JIWP over each of Standard, "
        "Weight Perturb and AT.",
        numbers.bottom_row_better,
    ),
    Claim(
        "C5a",
        "the best AT+beta improves AT's joint AUC",
        "The AUC of best AT+β model (e) improves that of AT by about 24%",
        "section 4.1",
        "The relative improvement of joint AUC is above zero. Which AT+beta is best is chosen on the test images, as "
        "it seems to be in the paper.",
        numbers.better_than_at,
    ),
    Claim(
        "C5b",
        "the best AT+beta improves AT's joint AUC by about 24%",
        "The AUC of best AT+β model (e) improves that of AT by about 24%",
        "section 4.1",
        "Two one-sided tests at 5%: the whole 90% interval of the relative improvement of joint AUC lies inside 24% "
        "plus or minus {near:.0%} of AT's AUC. Which AT+beta is best is chosen as for C5a.",
        numbers.quarter_better,
        number="about 24%",
    ),
    Claim(
        "C6",
        "AT+beta has a better joint AUC than JIWP",
        "AT+β also attains better AUC than JIWP, suggesting that min-max training is crucial to non-singular "
        "robustness.",
        "section 4.1",
        "The joint AUC of the best AT+beta is above JIWP's.",
        numbers.better_than_jiwp,
    ),
    Claim(
        "C7",
        "singular robustness gives a false sense of overall robustness",
        "the conclusions drawn from singular robustness may give a false sense of overall model robustness.",
        "abstract",
        "One edge: along the edge eps_w = 0 AT has the higher mean accuracy, along eps_x = 0 Weight Perturb has it, so "
        "one of the two singular tests must mislead about which model is the more robust. Both edges: for AT and for "
        "Weight Perturb, accuracy under joint perturbations is below the product of the two edges.",
        numbers.false_sense,
    ),
    Claim(
        "C8",
        "min-max training over weights fails",
        "adversarial training subject to weight perturbations is not meaningful since the min-max procedure would fail "
        "in only the parameter space.",
        "section 2",
        "Joint AT, which is min-max over inputs and weights, fails in at least one way: clean accuracy below "
        "{accurate:.0%}, less robust against weights than Standard or than AT, or a smaller joint AUC than AT. Min-max "
        "over the weights alone: clean accuracy below {accurate:.0%}, or less robust against weights than Standard.",
        numbers.min_max_fails,
    ),
    Claim(
        "C9",
        "Theorem 1 holds as printed",
        "then for any set of pairwise margin bound between natural and joint perturbed settings, we have (1)",
        "theorem 1",
        "In no example of chapter 3, in exact arithmetic, does a perturbed margin exceed the printed right-hand side "
        "of (1). One that does refutes the theorem; examples that do not would leave it open.",
        numbers.theorem,
        universal=True,
    ),
    Claim(
        "C10",
        "Weight Perturb is robust to weight perturbations, which it has seen",
        "Singular robust models (b) and (c) are only robust to the seen perturbation type, while they only have "
        "comparable or even worse robustness against unseen perturbation type.",
        "section 4.1",
        "Weight Perturb's mean accuracy along the edge eps_x = 0 is above Standard's.",
        numbers.robust_to_seen_weights,
    ),
)


def ledger(runs: Runs | None = None, rules: Rules | None = None) -> dict[str, Row]:
    """Every claim decided by these runs, by default the shipped ones."""
    runs, rules = numbers.shelf() if runs is None else runs, rules or Rules()
    return {claim.name: Row(claim, rules, tuple(claim.cases(runs, rules))) for claim in CLAIMS}
