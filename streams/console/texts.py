"""Every text of the console, by name; each language has one of these, and mypy sees to it that none is missing.

Texts with a count have two forms, `{n} user|{n} users`. Placeholders are the same in every language (a test). Names of
predictions, segments and events are what their authors wrote, and are not translated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

Words = Mapping[str, str]
Told = Mapping[str, tuple[str, str]]
"""Of errors, by the end of their problem's type: what has happened, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One language."""

    # the frame
    skip: str
    navigation: str
    nav_predictions: str
    language: str
    theme: str
    themes: Words
    signed_in_as: str
    roles: Words
    sign_out: str
    errors: Told
    error_back: str
    error_request: str
    loading: str
    not_loaded: str

    # signing in
    sign_in: str
    sign_in_lead: str
    sign_in_key: str
    sign_in_hint: str
    sign_in_how: str
    sign_in_wrong: Words

    # words of predictions
    kinds: Words
    category_titles: Words
    categories: Words
    """By kind and category: `event.high`."""
    statuses: Words
    status_help: Words
    accesses: Words
    access_help: Words
    bands: Words
    quality: str
    quality_unknown: str
    users: str

    # the list of predictions
    predictions: str
    predictions_lead: str
    predictions_none: str
    predictions_none_how: str
    audience: str
    expected_within: Words
    against_more: str
    against_fewer: str
    against_same: str
    against_none: str
    today: str
    entered_today: str
    left_today: str
    today_at_least: str
    today_unknown: str
    learning_progress: str
    learning_failed: str
    warm_up_progress: str
    warm_up_expected: str
    warm_up_no_date: str
    warm_up_beats: str

    # a prediction
    window: str
    audience_empty: str
    audience_empty_how: str
    spread: Words
    spread_rank: str
    spread_probability: str
    spread_likelihood: str
    spread_view: str
    by_score: str
    by_likelihood: str
    score: str
    users_axis: str
    said: str
    happened: str
    judged_moments: str
    as_table: str
    slider_low: str
    slider_high: str
    selected: str
    selected_users: str
    of_audience: str
    mean_likelihood: str
    expected: Words
    expected_not: Words
    last_period: Words
    last_period_none: str
    rank_top: Words
    rank_bottom: Words
    rank_between: str
    rank_everybody: str
    rank_scores: str
    about: str
    create_segment: str
    key_may_only_look: str
    quality_over_time: str
    quality_figure: str
    quality_base: str
    quality_later: str
    this_prediction: str
    baseline: str
    calibration: str
    calibration_help: str
    calibration_ratio: str
    by_touch_none: str
    crossings: str
    crossings_help: Words
    came_into: str
    by_goal: str
    by_event: str
    by_silence: str
    undone_week: str
    reached_goal: Words
    drivers: Words
    drivers_help: str
    drivers_none: str
    directions: Words
    odds: str
    model: str
    model_version: str
    model_learned: str
    model_goals: str
    model_since: str
    model_learning_since: str
    latest_event: str
    features: Words
    feature_level: str
    feature_levels: Words
    feature_event: str
    feature_other: str
    feature_trait_is: Words

    # segments
    nav_segments: str
    segments_lead: str
    segments_own: str
    segments_none: str
    segments_none_how: str
    segment: str
    segment_of_category: str
    members: str
    entered: str
    left: str
    latest_day: str
    export_csv: str
    archive: str
    segment_archived: str
    segment_waits: str
    size_over_time: str
    size_none: str
    filter: str
    user: str
    since: str
    entries: str
    members_help: str
    members_none: str
    more: str
    segment_warming: str
    segment_name: str
    segment_name_wrong: str
    entry_question: str
    entry_now: str
    entry_crossings: str
    cancel: str
    archive_question: str
    archive_help: str
    archive_too: str
    filter_groups: Words
    filter_score: str
    filter_likelihood: str
    filter_category: str
    filter_range: str
    filter_at_least: str
    filter_at_most: str
    filter_or: str
    filter_trait_is: str
    filter_trait_known: str
    filter_trait_unknown: str
    filter_trait_between: str
    filter_count_ever: str
    filter_count: str
    filter_since_min: str
    filter_since_max: str
    filter_since_between: str
    filter_segment: str

    # making and changing segments
    segment_by_filter: str
    segment_edit: str
    segment_form_lead: str
    segments_archived: str
    export_ndjson: str
    edit: str
    save: str
    restore: str
    history: str
    history_more: str
    history_of_file: str
    actions: Words
    changed_by: str
    renamed: str
    edit_moves: str
    dwell: str
    dwell_help: str
    unit: str
    units: Words
    count_users: str
    filter_as_text: str
    filter_as_text_help: str
    filter_now: str
    filter_not_counted: str
    form_wrong: str
    filter_expected: Words
    builder: Words
    """What the script of the builder says."""

    # making and changing predictions
    prediction_new: str
    prediction_create: str
    prediction_form_lead: str
    prediction_kind: str
    prediction_kinds: Words
    goal: str
    goal_help: str
    goal_join: str
    goal_joins: Words
    goal_row: str
    goal_did: str
    goal_did_not: str
    goal_where: str
    goal_more: str
    property: str
    operations: Words
    upper_end: str
    window_help: str
    audience_help: str
    more_settings: str
    lookback: str
    lookback_help: str
    scale: str
    scales: Words
    edges: str
    edge_medium: str
    edge_high: str
    hysteresis: str
    prediction_access: str
    access_choices: Words
    estimate: str
    estimate_again: str
    estimate_title: str
    estimate_lead: str
    estimate_audience_now: str
    estimate_goals: str
    estimate_of: str
    estimate_events: str
    estimate_first_label: str
    estimate_part: str
    estimate_when: Words
    estimate_anew: str
    estimate_good: str
    estimate_warnings: Words
    switch: Words
    switch_titles: Words
    switch_help: Words
    switch_segments: Words
    switch_no_segments: str
    switch_campaigns: str
    switch_endpoints: str
    endpoint_kinds: Words
    of_the_file: str

    # calibration by kind of moment, and by what campaigns did
    spread_frozen: str
    moments: Words
    judged_count: str
    touched: str
    touched_help: str
    touched_group: str
    touches: Words
    calibration_ratio_short: str

    # campaigns
    nav_campaigns: str
    campaigns_lead: str
    campaigns_own: str
    campaigns_none: str
    campaigns_archived: str
    campaign: str
    campaign_kinds: Words
    campaign_state: str
    campaign_states: Words
    campaign_state_help: Words
    campaign_switch: Words
    campaign_actions: Words
    campaign_make: str
    campaign_make_help: str
    campaign_blank: str
    campaign_create: str
    campaign_form_lead: str
    campaign_segment: str
    campaign_new_segment: str
    campaign_triggers: Words
    trigger: str
    campaign_facts: str
    campaign_version: str
    campaign_as_text: str
    campaign_problems: str
    campaign_rest: str
    campaign_rest_help: str
    campaign_begin: str
    campaign_archive_question: str
    campaign_archive_help: str
    channels: str
    channel_none: str
    channel_none_how: str
    channel_of_file: str
    channel_go: str
    channel_kinds: Words
    message: str
    message_help: str
    message_parts: Words
    offer: str
    offer_kinds: Words
    offer_units: Words
    offer_value: str
    order_value: str
    budget: str
    ladder: str
    ladder_help: str
    ladder_from: str
    ladder_value: str
    ladder_more: str
    control_group: str
    control_percent: str
    control_help: str
    create_campaign: str
    strategies_fitting: str
    strategies_others: str
    strategies_none: str
    strategies_title: str
    strategies_for: str
    reach_title: str
    reach_help: str
    reach_ask: str
    reach: Words
    reach_cost: str
    reach_at_most: str
    reach_not_known: str
    reach_without_consent: str
    trial_title: str
    trial_help: str
    trial_show: str
    trial_nobody: str
    trial_against: str
    trial_again: str
    channel_webhook: str
    channel_url: str
    channel_url_wrong: str
    channel_done: str
    channel_signed: str
    channel_on: str
    campaign_done: str
    sent: str
    withheld: str
    withheld_none: str
    withheld_reasons: Words
    waited: str
    waited_help: str
    waiting_for_rate: str
    budget_used: str
    budget_used_up: Words
    lift: str
    lift_did: str
    lift_share: str
    lift_interval: str
    lift_verdicts: Words
    lift_early: Words
    campaign_groups: Words

    # deliveries
    shard_behind: str
    deliveries: str
    deliveries_help: str
    deliveries_none: str
    deliveries_waiting: str
    delivered_to: str
    delivery_kind: str
    delivery_kinds: Words
    failures: str
    failures_of: str
    failures_help: str
    failures_none: str
    attempts: str
    last_result: str
    redrive: str
    redrive_help: str

    # a day of a segment
    came_in: str
    went_out: str

    # live and users
    nav_live: str
    live_lead: str
    live_states: Words
    live_directions: Words
    live_direction: str
    live_both: str
    live_all_segments: str
    live_empty: str
    live_why: str
    live_when: str
    pause: str
    resume: str
    filter_apply: str
    origins: Words
    by_goal_itself: str
    nav_users: str
    users_lead: str
    users_find: str
    search: str
    users_found: str
    users_more: str
    users_nobody: str
    first_seen: str
    last_seen: str
    user_rank: Words
    user_score: Words
    user_likelihood: str
    user_lapsed: str
    user_outside: str
    user_reasons: str
    user_course: str
    user_segments: str
    user_segments_none: str
    since_small: str
    user_events: str
    event: str
    times: str
    last_time: str
    other_events: str
    user_traits: str
    user_remembered: str
    user_timeline: str
    user_timeline_none: str
    user_delete: str
    user_delete_question: str
    user_delete_help: str
    user_delete_again: str
    user_delete_wrong: str
    user_leaving: str

    # previews
    frozen: str

    # the system
    nav_system: str
    system_lead: str
    events_worked: str
    events_per_second: str
    rate_later: str
    up_to_date: str
    behind: str
    latest_event_short: str
    shards: str
    shards_help: str
    shard: str
    commits: str
    takeovers: str
    counted: str
    counters: Words
    refused: str
    refused_help: str
    refused_none: str
    latest_records: str
    refusals: Told
    log_waiting: str
    log_waiting_help: str
    pending: str
    pending_help: str
    refused_newest: str
    refused_all: str
    refused_place: str
    refused_why: str
    refused_record: str
    refused_position: str
    refused_older: str
    refused_gone: str
    refused_cut: str
    put_back: str
    put_back_help: str
    put_back_record: str
    put_back_admin: str
    redriven: str
    redriven_at: str
    redriven_outcomes: Words


def all_texts(texts: Texts) -> Iterator[str]:
    """Every text of a language, also those within others."""
    for field in fields(texts):
        yield from _within(getattr(texts, field.name))


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _within(each)
