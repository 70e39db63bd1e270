/** How a `tsukimi` process ends. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  /** The command line or configuration cannot work (`EX_CONFIG` of sysexits.h): starting again would not help. */
  misconfigured: 78,
} as const;
