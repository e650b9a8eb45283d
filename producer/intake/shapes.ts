/** The shapes of what agents sign (agent/model/wire.ts), checked before anything of it is believed. */
import { z } from 'zod';
import type { Hello, Retraction } from '../../agent/model/wire.ts';
import { facilityCode, publicJwkShape } from '../keys/shapes.ts';

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().min(0);
const at = z.string().min(10).max(40);
const ledgerHead = z.object({ seq: count, hash: z.string().regex(/^[0-9a-f]{0,128}$/) });

/** Becomes a file's name: nothing a path could be made of, and no leading dot or dash. */
export const idShape = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/);

export const helloShape: z.ZodType<Hello> = z.object({
  v: z.literal(1),
  agent: facilityCode,
  epoch: count,
  key: publicJwkShape,
  ledgerHead,
  software: z.string().max(100),
  at,
});

export const retractionShape: z.ZodType<Retraction> = z.object({
  v: z.literal(1),
  retractionId: idShape,
  agent: facilityCode,
  epoch: count,
  detail: z.base64(),
  at,
});

export const heartbeatShape = z.object({
  v: z.literal(1),
  agent: facilityCode,
  seq: z.int().min(1),
  sha256: sha256Hex,
  at,
});

/** OTLP/HTTP JSON as far as it is looked at: the rest is kept as it came. */
export const otlpShape = z.object({ resourceMetrics: z.array(z.looseObject({})).min(1).max(16) });
