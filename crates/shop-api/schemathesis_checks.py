"""A check of schemathesis: valid data is refused only for reasons that a schema cannot state.

Run it in this folder, with api_service and payment_processor serving:

    schemathesis run http://127.0.0.1:8000/openapi.json --checks all --phases examples,coverage,fuzzing,stateful
"""

import schemathesis

# Problems that follow from what was recorded before.
OF_THE_PAST = {"amount_mismatch", "idempotency_key_reused", "page_token_invalid"}
# Problems that no schema mentions.
OF_TEXTS = {"card_number_present"}
# Faults by rules that a schema cannot state, or only by one schema for each currency.
RULES = {
    "has more decimals than the currency",
    "is not a decimal number of at most 28 digits",
    "is too large",
    "must be at least",
    "are too expensive together",
    "is not the sum of the lines",
    "is missing: a line has no unit_price",
    "needs a payment_method",
}


@schemathesis.check
def valid_data_is_refused_for_a_reason(ctx, response, case):
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_valid or response.status_code not in (400, 422):
        return
    problem = response.json()
    code = problem["type"].rsplit("/", 1)[-1]
    details = [fault["detail"] for fault in problem.get("errors", [])]
    by_rule = code == "invalid_request" and details and all(detail.startswith(tuple(RULES)) for detail in details)
    assert code in OF_THE_PAST | OF_TEXTS or by_rule, f"valid data was refused: {problem}"
