/**
 * Compact JWS with Ed25519 (RFC 7515, RFC 8037), and nothing else: `alg` is pinned, the type is checked, the key is
 * found by thumbprint among those the caller trusts. On node:crypto because a signature is made inside a database
 * transaction, where nothing may be awaited; the tests hold it against `jose`.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { ConnectorError } from '../model/errors.ts';

export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
}

/** A private key and the name it signs under. */
export interface SigningKey {
  readonly kid: string;
  readonly publicJwk: PublicJwk;
  readonly privateKey: KeyObject;
}

/** 32 bytes from which the same key always comes back. */
export function signingKeyFromSeed(seed: Uint8Array): SigningKey {
  // PKCS#8 of an Ed25519 seed, RFC 8410 section 7: a fixed head and the 32 bytes.
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  return signingKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
}

export function newSigningKey(): SigningKey {
  return signingKey(generateKeyPairSync('ed25519').privateKey);
}

export function signingKey(privateKey: KeyObject): SigningKey {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' });
  const publicJwk: PublicJwk = { kty: 'OKP', crv: 'Ed25519', x: x as string };
  return { kid: thumbprint(publicJwk), publicJwk, privateKey };
}

/** RFC 7638 with SHA-256. */
export function thumbprint(jwk: PublicJwk): string {
  return createHash('sha256').update(`{"crv":"${jwk.crv}","kty":"${jwk.kty}","x":"${jwk.x}"}`).digest('base64url');
}

export function signJws(key: SigningKey, typ: string, body: object): string {
  const header = Buffer.from(JSON.stringify({ alg: 'EdDSA', kid: key.kid, typ })).toString('base64url');
  const input = `${header}.${Buffer.from(JSON.stringify(body)).toString('base64url')}`;
  return `${input}.${sign(null, Buffer.from(input), key.privateKey).toString('base64url')}`;
}

/** Largest JWS read: ten times the largest statement we make. */
const jwsCharsMax = 64 * 1024;

/**
 * The body, if the signature is by one of `keys` and the type is `typ`. The caller still checks the body's shape.
 *
 * @throws ConnectorError SIGNATURE_INVALID
 */
export function verifyJws(keys: readonly PublicJwk[], typ: string, jws: string): unknown {
  const parts = jws.length <= jwsCharsMax ? jws.split('.') : [];
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || !header || !payload || !signature) throw invalid('it is not a compact JWS');
  const { alg, kid, typ: foundTyp, crit } = parseJson(header) as Record<string, unknown>;
  if (alg !== 'EdDSA') throw invalid('its algorithm is not EdDSA');
  // RFC 7515 4.1.11: a critical extension that is not understood makes it invalid, and we understand none.
  if (crit !== undefined) throw invalid('it asks for an extension we do not know');
  if (foundTyp !== typ) throw invalid(`it is not of type ${typ}`);
  const jwk = keys.find((candidate) => thumbprint(candidate) === kid);
  if (!jwk) throw invalid('its key is not one we trust');
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
  const bytes = Buffer.from(signature, 'base64url');
  // Node's decoder skips what is not base64url. One statement must have one text: receipts are chained by its digest.
  if (bytes.toString('base64url') !== signature) throw invalid('the signature is not plain base64url');
  if (!verify(null, Buffer.from(`${header}.${payload}`), key, bytes)) throw invalid('the signature does not match');
  return parseJson(payload);
}

/** The body without any trust: to learn which key to ask for. */
export function peekJws(jws: string): unknown {
  const payload = jws.split('.')[1];
  if (!payload || jws.length > jwsCharsMax) throw invalid('it is not a compact JWS');
  return parseJson(payload);
}

function parseJson(part: string): unknown {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new ConnectorError('SIGNATURE_INVALID', { reason: 'a part of it is not JSON' }, { cause });
  }
  throw invalid('a part of it is not a JSON object');
}

function invalid(reason: string): ConnectorError {
  return new ConnectorError('SIGNATURE_INVALID', { reason });
}
