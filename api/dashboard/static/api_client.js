// The public API. What a page shows and does goes through it, as any other client's requests do.

/** A refusal of the service, or no answer at all. */
export class Refused extends Error {}

/** The JSON at a path. */
export async function read(path) {
  return (await asked(path)).json();
}

/** A request that changes something; answers its JSON, or null when there is none. */
export async function send(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method === "POST") headers["Idempotency-Key"] = key();
  const response = await asked(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  return response.status === 204 ? null : response.json();
}

async function asked(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused("The service does not answer.");
  }
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!response.ok) throw new Refused(await explanation(response));
  return response;
}

async function explanation(response) {
  try {
    const problem = await response.json();
    return problem.detail || problem.title;
  } catch {
    return `The service answered ${response.status}.`;
  }
}

function key() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
