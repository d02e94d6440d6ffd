/**
 * A client of Onceload for web pages. A double click, a retry or a second tab never does the same work twice.
 * It needs no framework and no dependency, and runs in browsers and in Node.js 20. See README.md beside it.
 */

export interface Client {
  /** The API's address, such as https://abc123.execute-api.eu-west-1.amazonaws.com */
  baseUrl: string;
  /** Returns a valid ID token. */
  token: () => string | Promise<string>;
  /** How often a request is tried before the user sees its failure. */
  attempts?: number;
  fetch?: typeof fetch;
  sleep?: (milliseconds: number) => Promise<void>;
}

export interface Answer {
  status: number;
  /** True if this is the stored answer to an earlier try. */
  replayed: boolean;
  body: any;
}

/**
 * One thing that the user wants, such as one form on the screen. Every try of it sends the same key. A changed request
 * gets a new key, and so does the first request after a final answer. A lost connection or a server error is not final:
 * the work may have been done.
 */
export class Intent {
  private key = "";
  private request = "";

  keyFor(request: string): string {
    if (this.key === "" || this.request !== request) {
      this.key = crypto.randomUUID();
      this.request = request;
    }
    return this.key;
  }

  /** Ends the use of a key, after a final answer. */
  finish(key: string): void {
    if (this.key === key) this.key = "";
  }
}

/** Sends a POST, and tries again while that may help. Throws if there was no answer at all. */
export async function post(client: Client, intent: Intent, path: string, body: unknown): Promise<Answer> {
  const text = JSON.stringify(body);
  const key = intent.keyFor(`${path}\n${text}`);
  const headers = { "idempotency-key": key, "content-type": "application/json" };
  const { response, parsed } = await retry(client, () => send(client, "POST", path, headers, text));
  if (isFinal(response.status, parsed)) intent.finish(key);
  return { status: response.status, replayed: response.headers.get("idempotent-replayed") === "true", body: parsed };
}

export interface Start {
  merchant_id: string;
  files?: string[];
  prefix?: string;
  mapping?: Record<string, string>;
  options?: { max_duplicate_ratio?: number; max_rejects?: number };
}

/** An import to follow. */
export interface Started {
  jobId: string;
  statusUrl: string;
  /** A message for the user if this import was already running, or waits for approval. */
  message?: string;
}

/** Starts an import and returns at once. If one is already running, or these files wait for approval, returns that one. */
export async function startImport(client: Client, intent: Intent, start: Start): Promise<Started> {
  const { status, body } = await post(client, intent, "/imports/queue-processing", start);
  if (status === 202) return { jobId: body.jobId, statusUrl: body.statusUrl };
  if (status === 409 && body?.status === "processing" && body.jobId) {
    return { jobId: body.jobId, statusUrl: body.statusUrl, message: busy(body.elapsedMinutes) };
  }
  if (status === 409 && body?.status === "awaiting_approval") {
    return { jobId: body.jobId, statusUrl: body.statusUrl, message: body.error };
  }
  throw new Error(messageOf(body) ?? `The import could not be started (${status}).`);
}

export function busy(minutes: number): string {
  return `An import is already processing (started ${minutes} minutes ago). Please wait for it to complete, or try again in a few minutes.`;
}

/** Finds the user's own import if one is running, for a page that loads. */
export async function ownImport(client: Client): Promise<Started | undefined> {
  const own = await get(client, "/imports/queue-processing");
  return own.status === "processing" && own.jobId ? { jobId: own.jobId, statusUrl: own.statusUrl } : undefined;
}

/** Shows every state of an import until it waits for approval or has ended. Returns the last state. */
export async function follow(
  client: Client,
  statusUrl: string,
  show: (job: any) => void,
  signal?: AbortSignal,
): Promise<any> {
  const resting = ["awaiting_approval", "completed", "rolled_back", "failed", "cancelled", "expired"];
  for (;;) {
    const job = await get(client, statusUrl);
    show(job);
    // Approved, it goes on by itself when the merchant is free.
    const inLine = job.phase === "waiting_for_merchant";
    if ((resting.includes(job.status) && !inLine) || signal?.aborted) return job;
    await (client.sleep ?? sleep)(2000);
  }
}

async function get(client: Client, path: string): Promise<any> {
  const { response, parsed } = await retry(client, () => send(client, "GET", path, {}));
  if (response.ok) return parsed;
  throw new Error(messageOf(parsed) ?? `${path}: ${response.status}`);
}

/** Sends a request until an answer is final or the attempts are used up. Returns the last answer. */
async function retry(client: Client, ask: () => Promise<Response>): Promise<{ response: Response; parsed: any }> {
  for (let attempt = 1; ; attempt += 1) {
    const last = attempt >= (client.attempts ?? 5);
    let retryAfter: string | null = null;
    try {
      const response = await ask();
      const text = await response.text();
      // Throws for what is not JSON, such as a proxy's error page: that is tried again, too.
      const parsed = text === "" ? undefined : JSON.parse(text);
      if (last || isFinal(response.status, parsed)) return { response, parsed };
      retryAfter = response.headers.get("retry-after");
    } catch (error) {
      if (last) throw error;
    }
    await pause(client, attempt, retryAfter);
  }
}

async function send(
  client: Client,
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: string,
): Promise<Response> {
  const authorization = `Bearer ${await client.token()}`;
  return (client.fetch ?? fetch)(client.baseUrl + path, { method, headers: { ...headers, authorization }, body });
}

/**
 * Whether the same request would get the same answer again. Overload and a first try that is still running pass. A
 * server error says nothing about the work: the gateway answers 500 if a function dies after its COMMIT.
 */
function isFinal(status: number, body: any): boolean {
  const inProgress = status === 409 && body?.type === "urn:onceload:problem:request-in-progress";
  // Kept keys expire hours later.
  const tooMany = status === 429 && body?.type === "urn:onceload:problem:too-many-keys";
  return tooMany || (!inProgress && ![429, 500, 502, 503, 504].includes(status));
}

/** Waits twice as long each time, up to half a minute, with jitter, and never shorter than the server asks for. */
async function pause(client: Client, attempt: number, retryAfter: string | null): Promise<void> {
  const backoff = Math.min(500 * 2 ** (attempt - 1), 30_000) * (0.5 + Math.random() / 2);
  const asked = Number(retryAfter ?? 0) * 1000 || 0;
  await (client.sleep ?? sleep)(Math.max(backoff, asked));
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** The text of a problem document (RFC 9457) that is meant for people. */
function messageOf(body: any): string | undefined {
  return body?.errors?.[0]?.detail ?? body?.detail ?? body?.error ?? body?.message;
}
