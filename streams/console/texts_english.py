"""The console in English."""

from __future__ import annotations

from typing import Final

from streams.console.texts import Texts

ENGLISH: Final = Texts(
    skip="Skip to the content",
    navigation="Main navigation",
    nav_predictions="Predictions",
    language="Language",
    theme="Appearance",
    themes={"auto": "As the device", "light": "Light", "dark": "Dark"},
    signed_in_as="Signed in with the key “{name}”",
    roles={"ingest": "sends events", "read": "may look", "write": "may look and change", "admin": "may do everything"},
    sign_out="Sign out",
    errors={
        "not-found": ("This page does not exist", "Check the address, or start again from the list of predictions."),
        "forbidden": (
            "Your key may not do this",
            "Sign in with a key that may change things, or ask the person who runs Tideline for one.",
        ),
        "form": (
            "This form is no longer valid",
            "Your session has changed since the page was loaded. Go back, reload the page and try again.",
        ),
        "gone": ("This user was deleted", "Nothing is kept of them any more. New events would make a new user."),
        "unavailable": (
            "There is nothing to show at the moment",
            "The service is starting, or its store does not answer. Wait a moment, then reload the page. If it stays "
            "so, tell the person who runs Tideline.",
        ),
        "overloaded": ("The service is busy", "Others ask at the same time. Wait a few seconds, then reload the page."),
        "takes-too-long": (
            "This takes too long",
            "There are too many users to look at all of them in time. Ask for less, or have TIDELINE_API_SCAN_S raised.",
        ),
        "rate-limited": ("Too many requests", "Your key has asked too often. Wait a minute, then reload the page."),
        "too-large": ("The form is too large", "Shorten what you have entered, and send it again."),
        "invalid-body": ("The form could not be read", "Go back, reload the page and try again."),
        "already-exists": ("This name is taken", "Choose another name, and send it again."),
        "read-only": (
            "This is defined in the catalog file",
            "It can be changed there only. Ask the person who runs Tideline.",
        ),
        "not-targetable": (
            "Nothing may be targeted by this prediction",
            "It is there to be looked at. Make it live first, then try again.",
        ),
        "has-dependents": ("Others rest on this", "Change or archive what uses it first, then try again."),
        "precondition-failed": (
            "Somebody else has changed this",
            "It is not as it was when you opened it. Reload the page, and make your change again.",
        ),
        "cannot-estimate": ("This cannot be estimated", "What the filter asks for is not kept of the past."),
        "too-many": ("There are as many as there may be", "Archive one that is not used any more, then try again."),
        "invalid-definition": ("This cannot be saved so", "Go back, check what you have entered and try again."),
        "invalid-cursor": ("This list has moved on", "Open its first page, and go on from there."),
        "internal": (
            "Something went wrong",
            "Try again. If it happens again, give the number below to the person who runs Tideline.",
        ),
    },
    error_back="Back to the predictions",
    error_request="Number of this request",
    loading="Loading",
    not_loaded="This could not be loaded. Reload the page to try again.",
    sign_in="Sign in",
    sign_in_lead="Who is likely to do what, and when they cross the line.",
    sign_in_key="API key",
    sign_in_hint="It begins with tl_ and is kept by nobody but you: this page asks for it once a month at most.",
    sign_in_how="No key? The person who runs Tideline makes one with: tideline keys create --role write --name you",
    sign_in_wrong={
        "unknown": "This key is not known, or was revoked. Check that you have copied all of it.",
        "weak": "This key may only send events. Use one with the role read, write or admin.",
    },
    kinds={"event": "Event likelihood", "churn": "Churn risk"},
    category_titles={"event": "Event Likelihood Category", "churn": "Churn Risk Category"},
    categories={
        "event.low": "Low",
        "event.medium": "Medium",
        "event.high": "High",
        "churn.low": "Low risk",
        "churn.medium": "Medium risk",
        "churn.high": "High risk",
    },
    statuses={
        "live": "Live",
        "warming up": "Warming up",
        "going live": "Going live",
        "learning from history": "Learning from history",
        "archived": "Archived",
    },
    status_help={
        "live": "Scores move with every event, and crossings are sent.",
        "warming up": "It has not seen enough goals yet. Nothing is sent until it is live.",
        "going live": "Every user is being scored once before crossings are sent.",
        "learning from history": "The kept events are being replayed through it. Nothing is sent meanwhile.",
        "archived": "It is not computed any more.",
    },
    accesses={"live": "Live", "preview": "Preview", "demo": "Demo"},
    access_help={
        "preview": "Scores are shown, but nobody can be targeted by them: it is a preview on your own data.",
        "demo": "Scores are shown, but nobody can be targeted by them: it runs on made-up data.",
    },
    bands={"excellent": "Excellent", "good": "Good", "fair": "Fair", "poor": "Poor"},
    quality="Quality",
    quality_unknown="Not judged yet",
    users="{n} user|{n} users",
    predictions="Predictions",
    predictions_lead="What each user is likely to do next, as of their latest event.",
    predictions_none="There are no predictions yet",
    predictions_none_how="Define one in the catalog file, then restart the worker. It shows up here at once.",
    audience="Audience",
    expected_within={
        "event": "expected to do it within {window}",
        "churn": "expected to be lost within {window}",
    },
    today="Today",
    entered_today="{n} came into “{category}”|{n} came into “{category}”",
    left_today="{n} left it|{n} left it",
    today_at_least="at least",
    today_unknown="No crossings are known yet",
    learning_progress="{done} of {all} events read",
    learning_failed="The history could not be read. It learns from new events from now on.",
    warm_up_progress="{done} of {all} users with the goal",
    warm_up_expected="Expected to be complete on {date}",
    warm_up_no_date="No date yet: nobody has reached the goal so far",
    warm_up_beats="Enough goals: it goes live as soon as it is better than the simple rule",
)
