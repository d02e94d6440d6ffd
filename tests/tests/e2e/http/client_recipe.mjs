// Runs the compiled docs/client/onceload.ts against the API, over a network with injected faults.
// Environment: CLIENT, API_URL, TOKEN, INPUT (JSON). Prints JSON objects, the last one at the end.

const { Intent, follow, ownImport, post, startImport } = await import(process.env.CLIENT);
const input = JSON.parse(process.env.INPUT);
const keys = [];
const pauses = [];

// The faults of the next requests: "lost" means that the response is lost; a number is a status to answer with.
let trouble = [];
async function network(url, request) {
  if (request.headers["idempotency-key"]) keys.push(request.headers["idempotency-key"]);
  const wrong = trouble.shift();
  if (typeof wrong === "number") {
    const type = wrong === 409 ? "urn:onceload:problem:request-in-progress" : "about:blank";
    return new Response(JSON.stringify({ type }), { status: wrong, headers: { "retry-after": "7" } });
  }
  const response = await fetch(url, request);
  if (wrong === "lost") {
    await response.text();
    throw new TypeError("the connection was lost");
  }
  return response;
}

const client = {
  baseUrl: process.env.API_URL,
  token: () => process.env.TOKEN,
  fetch: network,
  sleep: async (milliseconds) => {
    pauses.push(milliseconds);
    await new Promise((done) => setTimeout(done, Math.min(milliseconds, 200)));
  },
};

const scenarios = {
  async create() {
    const intent = new Intent();
    trouble = ["lost", 500, 409];
    const first = await post(client, intent, "/communities", { name: input.name });
    const retried = keys.splice(0);
    const second = await post(client, intent, "/communities", { name: input.name });
    // Every attempt is lost, so the next press of the button must send the same request.
    trouble = Array(5).fill("lost");
    const lost = await post(client, intent, "/communities", { name: input.lost }).catch((error) => error.message);
    const again = await post(client, intent, "/communities", { name: input.lost });
    // A function that dies after its COMMIT is a 500 of the gateway. However often it comes, the key stays.
    trouble = Array(5).fill(500);
    const broken = await post(client, intent, "/communities", { name: input.broken });
    const mended = await post(client, intent, "/communities", { name: input.broken });
    const refused = await post(client, intent, "/communities", { name: "" });
    const edited = await post(client, intent, "/communities", { name: input.edited });
    return { first, retried, second, lost, again, broken, mended, refused, edited, keys, pauses };
  },

  async start() {
    const start = { merchant_id: input.merchant_id, files: [input.file] };
    const before = await ownImport(client);
    const started = await startImport(client, new Intent(), start);
    const last = await follow(client, started.statusUrl, () => {});
    const waiting = await startImport(client, new Intent(), start);
    return { before: before ?? null, started, last, waiting };
  },

  async attach() {
    const start = { merchant_id: input.merchant_id, files: [input.file] };
    const started = await startImport(client, new Intent(), start);
    // The test ends the running import after it has read this line.
    console.log(JSON.stringify(started));
    const last = await follow(client, started.statusUrl, () => {});
    return { last };
  },
};

console.log(JSON.stringify(await scenarios[input.scenario]()));
