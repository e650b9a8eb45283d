/**
 * What crosses the line between a hospital's agent and a producer, as JSON inside Ed25519-signed JWS (compact form,
 * `alg` EdDSA, `kid` an RFC 7638 thumbprint). docs/producer-api.md is the prose; this file is the types both ends use.
 */
import type { Lane } from './record.ts';

/** Head of a hash-chained ledger: how many entries, and the digest (hex) of the last. */
export interface LedgerHead {
  readonly seq: number;
  readonly hash: string;
}

/** The signature beside a parcel: what the agent vouches for. JWS `typ`: `kakehashi-parcel+jws`. */
export interface ParcelStatement {
  readonly v: 1;
  readonly parcelId: string;
  /** Facility code of the hospital; must equal the client certificate's subject CN. */
  readonly agent: string;
  /** Grows at each restore; a producer refuses a lower one. */
  readonly epoch: number;
  /** 1, 2, 3 … per producer; no gaps among published parcels. */
  readonly sequence: number;
  /** The parcel published before this one to the same producer; absent for the first. */
  readonly previous?: string;
  readonly lane: Lane;
  readonly suite: 'age-v1';
  /** Of the sealed file. */
  readonly bytes: number;
  readonly sha256: string;
  readonly counts: { readonly records: number; readonly subjects: number };
  readonly registerVersion: number;
  readonly ledgerHead: LedgerHead;
  readonly createdAt: string;
}

/** `stored`: whole, hashed, durable. `opened`: decrypted and every digest matched. `rejected`: will never be opened. */
export type ReceiptStatus = 'stored' | 'opened' | 'rejected';

/** The producer's signed answer. JWS `typ`: `kakehashi-receipt+jws`. Issued once per (parcel, status), the same for ever. */
export interface Receipt {
  readonly v: 1;
  readonly status: ReceiptStatus;
  readonly producer: string;
  readonly agent: string;
  readonly parcelId: string;
  /** The parcel's own sequence, echoed. */
  readonly sequence: number;
  /** Of the sealed file as the producer hashed it. */
  readonly sha256: string;
  readonly bytes: number;
  /** 1, 2, 3 … over all receipts to this agent; each names the digest (hex, SHA-256 of the JWS text) of the one before. */
  readonly receiptSequence: number;
  readonly previousReceipt?: string;
  /** The agent's ledger head as it stood in the parcel: the producer is its witness. */
  readonly ledgerHead: LedgerHead;
  readonly at: string;
  /** Only with `opened`. */
  readonly entries?: number;
  /** Only with `rejected`: a code, never text from inside. */
  readonly reason?: string;
}

/** First word of a session. JWS `typ`: `kakehashi-hello+jws`, signed with the key it carries. `POST v1/hello`. */
export interface Hello {
  readonly v: 1;
  readonly agent: string;
  readonly epoch: number;
  readonly key: { readonly kty: 'OKP'; readonly crv: 'Ed25519'; readonly x: string };
  readonly ledgerHead: LedgerHead;
  readonly software: string;
  readonly at: string;
}

/** Answer to a hello, plain JSON; the HTTP `Date` header beside it is what trusts the clock. */
export interface HelloAnswer {
  readonly producer: string;
  readonly epoch: number;
  /** Highest parcel sequence seen, and of the receipts issued. */
  readonly sequence: number;
  readonly receiptSequence: number;
  /** The last ledger head this producer witnessed. */
  readonly ledgerHead?: LedgerHead;
}

/**
 * A subject already delivered has asked to stop. JWS `typ`: `kakehashi-retraction+jws`. `POST v1/retractions`, answered
 * with a RetractionReceipt; the same retraction again gets the same answer.
 */
export interface Retraction {
  readonly v: 1;
  readonly retractionId: string;
  readonly agent: string;
  readonly epoch: number;
  /** Encrypted to the parcel recipients (age, base64): a RetractionDetail. The envelope itself names no patient. */
  readonly detail: string;
  readonly at: string;
}

export interface RetractionDetail {
  readonly subjectIds: readonly string[];
  readonly patientIds: readonly string[];
  readonly recordIds: readonly string[];
  readonly parcelIds: readonly string[];
  readonly effectiveAt: string;
}

/** JWS `typ`: `kakehashi-retraction-receipt+jws`. */
export interface RetractionReceipt {
  readonly v: 1;
  readonly producer: string;
  readonly agent: string;
  readonly retractionId: string;
  readonly sha256: string;
  readonly at: string;
}

export const jwsTypes = {
  parcel: 'kakehashi-parcel+jws',
  receipt: 'kakehashi-receipt+jws',
  hello: 'kakehashi-hello+jws',
  retraction: 'kakehashi-retraction+jws',
  retractionReceipt: 'kakehashi-retraction-receipt+jws',
  heartbeat: 'kakehashi-heartbeat+jws',
} as const;
