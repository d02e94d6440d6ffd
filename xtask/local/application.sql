-- An application with a table of codes of its own, as many have it: a uuid for each row, two indexes on the code, the language's
-- collation, names of its own, and a table that references its codes.
CREATE TABLE public.promo_codes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id uuid NOT NULL,
    promo_code varchar(255) COLLATE "en-US-x-icu" NOT NULL,
    serial text COLLATE "en-US-x-icu",
    sku varchar(300),
    points integer,
    product text,
    batch_code text,
    price numeric(14, 2),
    valid_from timestamptz,
    valid_until timestamptz,
    is_claimed boolean NOT NULL DEFAULT false,
    customer text,
    activated boolean NOT NULL DEFAULT false,
    deactivated boolean NOT NULL DEFAULT false,
    source text,
    color text NOT NULL DEFAULT 'green',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON public.promo_codes (promo_code, owner_id);
CREATE INDEX ON public.promo_codes (owner_id, promo_code);
CREATE TABLE public.claims (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    promo_code_id uuid NOT NULL UNIQUE REFERENCES public.promo_codes ON DELETE CASCADE,
    customer text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now()
);
