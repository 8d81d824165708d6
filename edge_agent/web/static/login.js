"use strict";

// The token may come in the address behind the #, which browsers keep to themselves.
const form = document.getElementById("form");
const field = document.getElementById("token");
const message = document.getElementById("message");

async function signIn(token) {
  message.textContent = "";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    message.textContent = answer.status === 401 ? "This is not the token." : "The inspector did not accept this.";
  } catch {
    message.textContent = "The inspector does not answer.";
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(field.value.trim());
});

const given = location.hash.slice(1);
if (given) {
  history.replaceState(null, "", location.pathname);
  signIn(given);
}
