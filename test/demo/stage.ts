import type { Kind, Offered } from './accounting.ts';

/** A production default that the demo changes, and why. Printed, so that nobody takes the demo's speed for granted. */
export interface Override {
  readonly key: string;
  readonly production: string;
  readonly demo: string;
  readonly why: string;
}

/** One kind of system a hospital has: its peer runs, and the agent is told how to reach it. */
export interface Stage {
  readonly kind: Kind;
  /** One sentence: what stands there. */
  readonly about: string;
  /** The entries of `sources` in the configuration. */
  readonly sources: readonly Readonly<Record<string, unknown>>[];
  /** False where it only sends to us. */
  readonly polls: boolean;
  readonly overrides: readonly Override[];
  /** What is sent or held there so far, by the peer's own word and the register. */
  readonly offered: readonly Offered[];
  /** For `--keep`: puts what the peer holds below this folder. */
  keep(folder: string): Promise<void>;
  /** Ends its processes. Harmless twice. */
  close(): Promise<void>;
}
