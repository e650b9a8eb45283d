/**
 * Questions to one FHIR server: who we are goes with each, and only to the origin that was configured; a server that
 * is busy is waited for; what an error page says is never repeated, because it can hold a patient's name.
 */
import { z } from 'zod';
import { ConnectorError, type ErrorCode } from '../../model/errors.ts';
import type { Clock } from '../../model/ports.ts';
import type { Instant } from '../../model/record.ts';
import type { Authorization } from './auth.ts';
import type { Answer, Transport } from './transport.ts';

export interface ClientOptions {
  /** Ends with a slash. */
  readonly base: URL;
  readonly pageBytesMax: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

export interface Page {
  readonly bytes: Buffer;
  /** The server's own time, where it told it. */
  readonly date: Instant | undefined;
}

/** The longest a server can make us wait: some send milliseconds since 1970 where seconds are meant. */
const waitMsMax = 15 * 60_000;

/** First wait where the server names none; it doubles. */
const waitMs = 1000;

/** How often a question is asked before it is given up until the next poll. A busy server said it will come back. */
const attemptsMax: Readonly<Partial<Record<ErrorCode, number>>> = {
  FHIR_BUSY: 5,
  FHIR_FAILED: 3,
  NET_CUT: 3,
  NET_STALLED: 2,
  NET_UNREACHABLE: 2,
};

export class FhirClient {
  readonly base: URL;
  readonly #options: ClientOptions;
  readonly #transport: Transport;
  readonly #authorization: Authorization;
  #skewMs: number | undefined;

  constructor(options: ClientOptions, transport: Transport, authorization: Authorization) {
    this.base = options.base;
    this.#options = options;
    this.#transport = transport;
    this.#authorization = authorization;
  }

  /** How far the server's clock is ahead of ours, from its last answer that told. Whole seconds. */
  get skewMs(): number | undefined {
    return this.#skewMs;
  }

  /**
   * An URL the server gave. Used as it is: what it means is the server's own affair.
   *
   * @throws ConnectorError FHIR_OTHER_ORIGIN - it leads elsewhere, where our password has no business.
   */
  follow(link: string, from: URL): URL {
    const url = URL.canParse(link, from) ? new URL(link, from) : undefined;
    if (!url) throw this.invalid('a link is not a URL');
    if (url.origin !== this.base.origin) throw new ConnectorError('FHIR_OTHER_ORIGIN', { peer: this.base.host });
    return url;
  }

  /**
   * A resource or a page, as bytes; asked again, after a while, when the server is busy or fails.
   *
   * @throws ConnectorError FHIR_*, NET_*, PROXY_*, TLS_*, KEY_UNREADABLE
   */
  async getPatiently(url: URL, signal: AbortSignal): Promise<Page> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.get(url, signal);
      } catch (error) {
        if (!(error instanceof ConnectorError) || signal.aborted) throw error;
        if (attempt >= (attemptsMax[error.code] ?? 1)) throw error;
        const { retryAfterMs } = error.details;
        const asked = typeof retryAfterMs === 'number' ? retryAfterMs : 0;
        await this.#options.clock.sleep(Math.max(asked, waitMs * 2 ** (attempt - 1)), signal);
        if (signal.aborted) throw error;
      }
    }
  }

  /** The same, asked once; renews a token that has run out. */
  async get(url: URL, signal: AbortSignal): Promise<Page> {
    let answer = await this.#ask(url, signal);
    if (answer.status === 401 && this.#authorization.renew()) answer = await this.#ask(url, signal);
    const date = this.#dateOf(answer);
    if (answer.status !== 200) throw this.#refusal(answer);
    const type = answer.header('content-type') ?? '';
    // A login page comes with status 200. JSON under another name is left to the scanner.
    if (/html|xml/i.test(type)) throw this.invalid('it is not JSON');
    return { bytes: answer.body, date };
  }

  invalid(reason: string): ConnectorError {
    return new ConnectorError('FHIR_ANSWER_INVALID', { peer: this.base.host, reason });
  }

  async #ask(url: URL, signal: AbortSignal): Promise<Answer> {
    if (url.origin !== this.base.origin) throw new ConnectorError('FHIR_OTHER_ORIGIN', { peer: this.base.host });
    const authorization = await this.#authorization.header(signal);
    return this.#transport.exchange({
      method: 'GET',
      url,
      headers: { accept: 'application/fhir+json', ...(authorization !== undefined && { authorization }) },
      bytesMax: this.#options.pageBytesMax,
      timeoutMs: this.#options.timeoutMs,
      signal,
    });
  }

  #dateOf(answer: Answer): Instant | undefined {
    const date = Date.parse(answer.header('date') ?? '');
    if (Number.isNaN(date)) return undefined;
    this.#skewMs = date - this.#options.clock.now();
    return date;
  }

  #refusal(answer: Answer): ConnectorError {
    const { status } = answer;
    const peer = this.base.host;
    if (status >= 300 && status < 400) return new ConnectorError('FHIR_REDIRECTED', { peer, status });
    const code = byStatus[status] ?? (status >= 500 ? 'FHIR_FAILED' : 'FHIR_REFUSED');
    const retryAfterMs = waitOf(answer.header('retry-after'), this.#options.clock.now());
    return new ConnectorError(code, { peer, status, issues: issuesOf(answer.body), retryAfterMs });
  }
}

const byStatus: Readonly<Record<number, ErrorCode>> = {
  401: 'FHIR_DENIED',
  403: 'FHIR_DENIED',
  408: 'FHIR_BUSY',
  423: 'FHIR_BUSY',
  429: 'FHIR_BUSY',
  503: 'FHIR_BUSY',
};

/** Seconds or an HTTP date (RFC 9110 section 10.2.3), never longer than `waitMsMax`; anything else is as if absent. */
export function waitOf(text: string | undefined, now: Instant): number {
  const value = text?.trim() ?? '';
  const asked = /^\d{1,20}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(asked) ? 0 : Math.min(Math.max(asked, 0), waitMsMax);
}

/** Codes of FHIR R4's value set issue-type, and nothing else of what the server wrote. */
const outcome = z.object({ issue: z.array(z.object({ code: z.string().regex(/^[a-z-]{1,32}$/) })).max(32) });

function issuesOf(body: Buffer): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString());
  } catch {
    return 'none';
  }
  const { data } = outcome.safeParse(parsed);
  const codes = data?.issue.map(({ code }) => code).filter((code) => issueTypes.has(code)) ?? [];
  return codes.length > 0 ? [...new Set(codes)].join(' ') : 'none';
}

const issueTypes: ReadonlySet<string> = new Set(
  (
    'invalid structure required value invariant security login unknown expired forbidden suppressed processing ' +
    'not-supported duplicate multiple-matches not-found deleted too-long code-invalid extension too-costly ' +
    'business-rule conflict transient lock-error no-store exception timeout incomplete throttled informational'
  ).split(' '),
);
