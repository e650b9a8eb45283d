/**
 * Who we are to the FHIR server: nobody, a user with a password, or a SMART Backend Services client (HL7 SMART App
 * Launch 2.2, "Backend Services" and "Asymmetric Client Authentication"), which signs a statement for a token that
 * lives for minutes. Only node:crypto.
 */
import { constants, createPrivateKey, type KeyObject, randomUUID, sign } from 'node:crypto';
import { z } from 'zod';
import { readSecret, type SecretRef } from '../../base/secret.ts';
import { ConnectorError } from '../../model/errors.ts';
import type { Clock } from '../../model/ports.ts';
import type { Answer, Transport } from './transport.ts';

interface BasicOptions {
  readonly kind: 'basic';
  readonly username: string;
  readonly password: SecretRef;
}

interface SmartOptions {
  readonly kind: 'smart';
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly key: SecretRef;
  readonly kid?: string | undefined;
  readonly scope: string;
  readonly alg: 'ES384' | 'RS384';
}

export type AuthOptions = { readonly kind: 'none' } | BasicOptions | SmartOptions;

export interface Authorization {
  /** The header's value, or undefined where none is sent. */
  header(signal: AbortSignal): Promise<string | undefined>;
  /** After a 401: forgets what was used. True when asking again can help. */
  renew(): boolean;
}

interface AuthContext {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly timeoutMs: number;
}

export function authorizationOf(options: AuthOptions, context: AuthContext): Authorization {
  if (options.kind === 'smart') return new SmartAuthorization(options, context);
  return {
    // Read each time, so that a changed password needs no restart.
    header: () => Promise.resolve(options.kind === 'basic' ? basic(options) : undefined),
    renew: () => false,
  };
}

function basic({ username, password }: BasicOptions): string {
  const secret = readSecret(password, process.env);
  return `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
}

/** Longest life of our statement; servers refuse more. SMART App Launch 2.2, "Authentication JWT Claims". */
const assertionSecondsMax = 300;

/** A token answer is a few hundred bytes; JWTs of large installations reach some kilobytes. */
const tokenBytesMax = 64 * 1024;

/** What a server that does not say is taken to have meant; RFC 6749 leaves it open, SMART recommends it. */
const defaultSeconds = 300;

/** The part of a token's life after which it is renewed. */
const usedShare = 0.8;

const tokenAnswer = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{1,16384}$/),
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.number().positive().max(86_400).optional(),
});

/** RFC 6749 section 5.2. Only these are repeated: the rest of an answer is text from outside. */
const tokenErrors = z.object({
  error: z.enum([
    'invalid_request',
    'invalid_client',
    'invalid_grant',
    'unauthorized_client',
    'unsupported_grant_type',
    'invalid_scope',
  ]),
});

interface Token {
  readonly header: string;
  /** On the monotonic clock. */
  readonly renewAt: number;
}

class SmartAuthorization implements Authorization {
  readonly #options: SmartOptions;
  readonly #context: AuthContext;
  readonly #url: URL;
  #token: Token | undefined;

  constructor(options: SmartOptions, context: AuthContext) {
    this.#options = options;
    this.#context = context;
    this.#url = new URL(options.tokenUrl);
  }

  /** @throws ConnectorError FHIR_TOKEN_REFUSED, FHIR_TOKEN_FAILED, FHIR_KEY_UNUSABLE, KEY_UNREADABLE, NET_*, TLS_* */
  async header(signal: AbortSignal): Promise<string> {
    const { clock } = this.#context;
    if (this.#token && clock.monotonic() < this.#token.renewAt) return this.#token.header;
    const answer = await this.#ask(signal);
    if (answer.status !== 200) throw this.#refusal(answer);
    const parsed = tokenAnswer.safeParse(parseJson(answer.body));
    if (!parsed.success) throw this.#failed('it is not a token');
    const livesMs = (parsed.data.expires_in ?? defaultSeconds) * 1000;
    this.#token = {
      header: `Bearer ${parsed.data.access_token}`,
      renewAt: clock.monotonic() + livesMs * usedShare,
    };
    return this.#token.header;
  }

  renew(): boolean {
    this.#token = undefined;
    return true;
  }

  #ask(signal: AbortSignal): Promise<Answer> {
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      scope: this.#options.scope,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: this.#assertion(),
    });
    return this.#context.transport.exchange({
      method: 'POST',
      url: this.#url,
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: form.toString(),
      bytesMax: tokenBytesMax,
      timeoutMs: this.#context.timeoutMs,
      signal,
    });
  }

  #assertion(): string {
    const { clientId, alg, tokenUrl } = this.#options;
    const { key, kid } = readKey(this.#options);
    const issuedAt = Math.floor(this.#context.clock.now() / 1000);
    const header = { alg, typ: 'JWT', ...(kid !== undefined && { kid }) };
    const claims = {
      iss: clientId,
      sub: clientId,
      aud: tokenUrl,
      iat: issuedAt,
      exp: issuedAt + assertionSecondsMax,
      jti: randomUUID(),
    };
    const input = `${encode(header)}.${encode(claims)}`;
    return `${input}.${sign('sha384', Buffer.from(input), signers[alg](key)).toString('base64url')}`;
  }

  #refusal({ status, body }: Answer): ConnectorError {
    if (status === 429 || status >= 500) return this.#failed(`status ${status}`);
    const named = tokenErrors.safeParse(parseJson(body));
    const error = named.success ? named.data.error : 'no reason given';
    return new ConnectorError('FHIR_TOKEN_REFUSED', { peer: this.#url.host, status, error });
  }

  #failed(reason: string): ConnectorError {
    return new ConnectorError('FHIR_TOKEN_FAILED', { peer: this.#url.host, reason });
  }
}

/** RFC 7518: ES384 signatures are two numbers side by side, not DER. */
const signers = {
  ES384: (key: KeyObject) => ({ key, dsaEncoding: 'ieee-p1363' }) as const,
  RS384: (key: KeyObject) => ({ key, padding: constants.RSA_PKCS1_PADDING }),
} as const;

const privateJwk = z.looseObject({ kty: z.string(), kid: z.string().max(256).optional() });

/** Read each time it is used, every few minutes, so that a replaced key needs no restart. */
function readKey({ key: ref, kid, alg }: SmartOptions): { key: KeyObject; kid: string | undefined } {
  const text = readSecret(ref, process.env);
  const jwk = text.trimStart().startsWith('{') ? privateJwk.safeParse(parseJson(Buffer.from(text))).data : undefined;
  let key: KeyObject;
  try {
    key = jwk ? createPrivateKey({ key: jwk, format: 'jwk' }) : createPrivateKey(text);
  } catch {
    // The cause is left out: it may quote the key.
    throw new ConnectorError('FHIR_KEY_UNUSABLE', { reason: 'it is neither PEM nor JWK of a private key' });
  }
  const isFitting =
    alg === 'RS384'
      ? key.asymmetricKeyType === 'rsa'
      : key.asymmetricKeyDetails?.namedCurve === 'secp384r1' && key.asymmetricKeyType === 'ec';
  if (!isFitting) throw new ConnectorError('FHIR_KEY_UNUSABLE', { reason: `it is not a key for ${alg}` });
  return { key, kid: kid ?? jwk?.kid };
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch {
    return undefined;
  }
}
