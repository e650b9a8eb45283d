/** What is answered to an A-ASSOCIATE-RQ. Pure: the listener counts, this decides. */
import type { AnsweredContext, AssociateRequest, ProposedContext, Rejection } from './pdu.ts';
import { answerBytesMax } from './pdu.ts';
import {
  applicationContext,
  explicitLittleEndian,
  implicitLittleEndian,
  isStorage,
  isUid,
  verification,
} from './uids.ts';

export interface Admission {
  readonly aeTitle: string;
  /** Whether a peer that calls another title is served too. */
  readonly anyCalledAe: boolean;
  /** AE titles that may call; empty: any. */
  readonly callingAeTitles: readonly string[];
}

/** An accepted context: what arrives on it and how it is encoded. */
export interface Context {
  readonly abstractSyntax: string;
  readonly transferSyntax: string;
}

/** Undefined: welcome, as far as the request itself tells. */
export function objection(request: AssociateRequest, admission: Admission): Rejection | undefined {
  const { aeTitle, anyCalledAe, callingAeTitles } = admission;
  if ((request.protocolVersion & 1) === 0) return 'protocol-version';
  if (request.applicationContext !== applicationContext) return 'application-context';
  if (!anyCalledAe && request.calledAe !== aeTitle) return 'called-ae';
  if (callingAeTitles.length > 0 && !callingAeTitles.includes(request.callingAe)) return 'calling-ae';
  if (request.dataBytesMax > 0 && request.dataBytesMax < answerBytesMax) return 'too-small';
  return undefined;
}

export function answerContext(proposed: ProposedContext): AnsweredContext {
  const { id, abstractSyntax } = proposed;
  const transferSyntax = chooseTransferSyntax(proposed.transferSyntaxes);
  const isSupported = abstractSyntax === verification || (isUid(abstractSyntax) && isStorage(abstractSyntax));
  if (!isSupported) return { id, result: 'abstractSyntaxNotSupported', transferSyntax: implicitLittleEndian };
  if (transferSyntax === undefined) {
    return { id, result: 'transferSyntaxesNotSupported', transferSyntax: implicitLittleEndian };
  }
  return { id, result: 'accepted', transferSyntax };
}

/**
 * The choice that keeps the sender's form. A compressed syntax is proposed by itself by a sender that has such images
 * and is taken as it is; beside an uncompressed one it is an offer to compress, which nobody asked for. Big endian and
 * deflated come as they come. Nothing is ever transcoded.
 */
function chooseTransferSyntax(proposed: readonly string[]): string | undefined {
  for (const plain of [explicitLittleEndian, implicitLittleEndian]) if (proposed.includes(plain)) return plain;
  return proposed.find(isUid);
}
