// A link may bring its key behind the #, which browsers send nowhere: it is filled in, and taken out of the address.
// Nobody is signed in without pressing the button, so no link of somebody else's can do it unseen.
"use strict";

const given_key = new URLSearchParams(window.location.hash.slice(1)).get("key");
if (given_key !== null) {
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
  document.querySelector("#key").value = given_key;
  document.querySelector("form button[type=submit].main").focus();
}
